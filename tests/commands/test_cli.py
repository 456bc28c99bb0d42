from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import tiny
import torch
import yaml

from freemcg import Attribution, Counterfactual
from freemcg.commands.app import main
from freemcg.jobs import announce
from freemcg.messages.errors import STATUSES


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make_place(tmp_path)


@pytest.fixture
def explain(place, pipeline):
    """Run `freemcg attribute` with a model, a denoiser and a config. Options replace any of them."""

    def run(*arguments, task="attribute", images="pics", **options):
        given = {
            "out": "out",
            "model": "mine.py:brighter_right",
            "denoiser": pipeline,
            "config": "tiny.yaml",
            **options,
        }
        words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
        return main([task, images, *words, *arguments])

    return run


def refusal(capsys, found, status=2):
    """The one sentence that a refused command prints."""
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if "freemcg: " in line]
    assert found == status
    assert len(said) == 1
    assert printed.err.endswith(said[0] + "\n")
    assert said[0].startswith("freemcg: ")
    assert "Traceback" not in printed.err
    return said[0].removeprefix("freemcg: ")


CONFIGS = {
    "noise: []": "bad.yaml: noise must hold at least 1, got []",
    "search: {guidance: .inf}": "bad.yaml: search.guidance must be a finite number, got inf",
    "particles: 0": "bad.yaml: particles must be >= 2, got 0",
    "particle: 12": "bad.yaml: unknown setting 'particle'; did you mean 'particles'?",
    "search: {steps: 0}": "bad.yaml: search.steps must be >= 2, got 0",
    "search: {queries: 5}": (
        "bad.yaml: search.queries must be >= 10 for 4 gradients, got 5; raise it, or raise search.refresh"
    ),
    "{tolerance: 0.1, estimate: regression}": (
        "bad.yaml: a tolerance needs an estimate with error bars, control_variate or cross_covariance; got 'regression'"
    ),
    "search: {step: 5}": "bad.yaml: unknown setting 'search.step'; did you mean 'steps'?",
    "search: {method: best}": "bad.yaml: search.method must be 'shared' or 'paper', got 'best'",
    "- 3": "bad.yaml must hold a mapping of settings, 'name: value' a line",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_a_bad_config_is_refused_before_the_first_query(explain, place, capsys, config):
    (place / "bad.yaml").write_text(config)
    assert refusal(capsys, explain(config="bad.yaml")) == CONFIGS[config]
    assert tiny.asked(place) == []


ASKED_FOR_WHAT_IS_NOT_THERE = [
    ({"target": "7", "num_classes": 3}, "there is no class 7; classes are 0..2"),
    ({"target": "-1"}, "there is no class -1"),
    ({"target": "cat"}, "there is no class 'cat'; the black box has no class_names"),
    ({"target": "up", "model": "mine.py:box"}, "there is no class 'up'; classes are right, left, even"),
    ({"model": "yours.py:predict"}, "there is no file yours.py"),
    ({"model": "pics.py:predict"}, "there is no file pics.py"),
    ({"model": "mine.py"}, "mine.py names a file and nothing in it; write mine.py:NAME"),
    ({"model": "mine.py:brighter"}, "mine.py has nothing called 'brighter'; it has count, brighter_right"),
    ({"model": "mine.py:NUMBER"}, "mine.py:NUMBER is a int; it must be callable, images in and scores out"),
    ({"model": "mine.py:Model"}, "mine.py:Model is a class; name an instance of it"),
    (
        {"model": "pics"},
        "pics holds no config.json; a trained network is a folder with config.json and model.safetensors",
    ),
    ({"model": "digit"}, "there is no model 'digit'; name file.py:callable"),
    (
        {"model": "mine.py:box", "scores": "logits"},
        "mine.py:box says itself what it takes and answers; leave out --scores",
    ),
    (
        {"scores": "logit"},
        "scores must be one of logits, probabilities, percent, log_probabilities, top_k, label, binary, ",
    ),
    ({"scores": "label"}, "a black box that answers labels needs class_names or num_classes"),
    (
        {"denoiser": "./nowhere"},
        "there is no folder ./nowhere; name another, or a bundled denoiser: digits, chest-xrays, cifar10",
    ),
    ({"denoiser": "pics"}, "pics holds no model_index.json; a denoiser is a folder made by save_pretrained"),
    ({"denoiser": "mine.py"}, "mine.py is a file; a denoiser is a folder made by save_pretrained"),
    ({"config": "best"}, "there is no config best; bundled ones are cifar10-denoiser, cifar10-vae, "),
    ({"config": "pics"}, "there is no config pics; bundled ones are cifar10-denoiser, cifar10-vae, "),
    ({"images": "photos"}, "there is no picture or folder photos"),
    ({"images": "mine.py"}, "mine.py is not a picture that Pillow can read"),
    ({"out": "mine.py"}, "mine.py is a file; results need a folder"),
    ({"out": "pics"}, "pics is the folder of the images; give results another one"),
    ({"queries": "2"}, "queries must be >= 3, got 2"),
    ({"queries": "9" * 20}, f"queries must be <= 1000000, got {'9' * 20}"),
    ({"queries": "many"}, "Invalid value for '--queries'"),
    ({"tolerance": "0"}, "tolerance must be > 0, got 0.0"),
    ({"tolerance": "inf"}, "tolerance must be a finite number, got inf"),
    ({"task": "counterfactual", "queries": "5"}, "search.queries must be >= 6 for 2 gradients, got 5; raise it, or"),
    (
        {"task": "counterfactual", "queries": "90", "config": "paper"},
        "--queries 90 bounds the package's own search; the cost of the paper's procedure (--config paper) follows from "
        "its particles and steps; leave --queries out, or set search.particles and search.steps in a YAML file",
    ),
    ({"device": "gpu"}, "there is no device 'gpu'; name cpu, cuda or cuda:N"),
    ({"device": "cuda:99"}, f"there is no device cuda:99; {torch.cuda.device_count()} CUDA devices are visible"),
    ({"device": "meta"}, "nothing can be computed on the device 'meta' here; name cpu, cuda or cuda:N"),
    (
        {"price_per_1000": "1e-320", "budget": "2.50usd"},
        "--price-per-1000 must be 0, or finite and at least 0.000001, got 9.99989e-321",
    ),
    ({"price_per_1000": "inf"}, "--price-per-1000 must be 0, or finite and at least 0.000001, got inf"),
    ({"price_per_1000": "nan"}, "Invalid value for '--price-per-1000'"),
    ({"price_per_1000": "-1"}, "Invalid value for '--price-per-1000'"),
    ({"budget": "9" * 5000}, "budget is a number of queries (500) or an amount of money (2.50usd), got '999"),
    ({"mean": "0.5"}, "give both mean and std, or neither"),
    (
        {"mean": "a,b", "std": "1"},
        "--mean is one number, or one per channel (0.485,0.456,0.406), got 'a,b'",
    ),
    ({"mean": "0", "std": "nan"}, "mean and std need one finite number per channel, std > 0; got 0.0 and nan"),
    (
        {"mean": "0", "std": "0,1"},
        "mean and std need one finite number per channel, std > 0; got 0.0 and [0.0, 1.0]",
    ),
    ({"mean": "0,0,0", "std": "1,1,1"}, "mean and std have 3 channels but the images have 1"),
    (
        {"layout": "NHWC", "output": "a"},
        "mine.py:brighter_right gets images (N, C, H, W) and answers only scores; leave out --output and --layout",
    ),
    (
        {"model": "mine.py:box", "mean": "0", "std": "1"},
        "mine.py:box says itself what it takes and answers; leave out --mean and --std",
    ),
    ({"out": None}, "Missing option '--out'"),
    ({"colour": "red"}, "No such option: --colour"),
]


def test_a_copied_command_is_planned_without_what_changes_no_price(explain, capsys):
    said = refusal(capsys, explain(task="plan"))
    assert said == "No such option: --denoiser; it changes no price, so leave it out of a plan"
    assert refusal(capsys, explain(task="plan", denoiser=None, colour="red")).startswith("No such option: --colour")
    assert explain(task="plan", denoiser=None) == 0


def test_options_that_contradict_each_other_are_refused(explain, place, capsys):
    said = refusal(capsys, explain("--no-cache", cache="mine.sqlite"))
    assert said == "--no-cache stores no answers, and --cache mine.sqlite names a file for them; give one"
    assert not (place / "mine.sqlite").exists()


@pytest.mark.parametrize(("options", "sentence"), ASKED_FOR_WHAT_IS_NOT_THERE, ids=lambda value: str(value)[:40])
def test_what_is_not_there_is_refused_before_the_first_query(explain, place, capsys, options, sentence):
    (place / "pics.py").mkdir()
    assert refusal(capsys, explain(**options)).startswith(sentence)
    assert tiny.asked(place) == []


def test_a_truncated_picture_is_refused_by_itself_and_left_out_of_a_folder(explain, place, capsys):
    whole = (place / "pics" / "b.png").read_bytes()
    (place / "pics" / "b.png").write_bytes(whole[: len(whole) // 2])
    said = refusal(capsys, explain(images="pics/b.png"))
    assert said.startswith("pics/b.png cannot be decoded, is it cut short? (")
    assert tiny.asked(place) == []
    assert explain() == 1
    assert "left out, cannot be read: 1 of them\npics/b.png cannot be decoded" in capsys.readouterr().err
    assert tiny.asked(place) == [2 * 9]


def test_missing_weights_are_refused_before_the_first_query(explain, place, capsys):
    broken = tiny.make_pipeline(place / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    sentence = "broken/unet holds no weights (diffusion_pytorch_model.safetensors)"
    assert refusal(capsys, explain(denoiser="broken")) == sentence
    assert tiny.asked(place) == []


BROKEN_FILES = {
    "import torch\n\nscale = 1 / 0\n": "broken.py cannot be imported: line 3: ZeroDivisionError: division by zero",
    "import nowhere\n": "broken.py cannot be imported: line 1: ModuleNotFoundError: No module named 'nowhere'",
    "def predict(images:\n": "broken.py cannot be imported: SyntaxError: '(' was never closed (broken.py, line 1)",
}


@pytest.mark.parametrize("source", BROKEN_FILES)
def test_a_file_that_cannot_be_imported_is_named_with_exception_and_line(explain, place, capsys, source):
    (place / "broken.py").write_text(source)
    assert refusal(capsys, explain(model="broken.py:predict")) == BROKEN_FILES[source]
    assert str(place) not in sys.path
    assert "broken" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["attribute", "", "--out", "maps"], "attribute"),
        (["attribute", "pics", "--out", ""], "--out"),
        (["attribute", "pics", "--out="], "--out"),
        (["compare", "pics", "--model", "", "--out", "maps"], "--model"),
        (["plan", ""], "plan"),
    ],
)
def test_an_empty_argument_is_refused_and_is_not_the_working_folder(capsys, monkeypatch, tmp_path, arguments, place):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said == f"freemcg: what follows {place} is empty; write a value, and look at any $VARIABLE there\n"
    assert not list(tmp_path.iterdir())


WRONG_ANSWERS = {
    "answers_nan": (
        "the black box answered NaN or infinity for image 0 of 1"
        "; its answer must be finite numbers, so try it in float32"
    ),
    "answers_one_number": "the black box answered shape (1,) for 1 images; it must be (1, classes); "
    "they lie in [0, 1], like the probability of the positive class of two: say scores='binary' (--scores, means:), "
    "'binary_logit' for its logit, or 'value' for a number that means itself",
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_ends_the_job_at_the_first_query(explain, place, capsys, name):
    assert refusal(capsys, explain(model=f"mine.py:{name}")) == WRONG_ANSWERS[name]
    assert tiny.asked(place) == [1]


OWN_ERRORS = {
    "refuses": ('raise ValueError("the lamp is off")', "ValueError: the lamp is off"),
    "breaks": ('raise KeyError("a slip")', "KeyError: 'a slip'"),
    "leaves": ('raise SystemExit("bye")', "SystemExit: bye"),
    "divides": ("return images.reshape(7)", "RuntimeError: shape '[7]' is invalid for input of size 64"),
}


@pytest.mark.parametrize("name", OWN_ERRORS)
def test_an_error_of_the_users_own_code_is_named_with_file_and_line(explain, place, capsys, name):
    source, message = OWN_ERRORS[name]
    line = tiny.MODEL.splitlines().index(f"    {source}") + 1
    said = refusal(capsys, explain(model=f"mine.py:{name}"), status=3)
    assert said.endswith(f"mine.py, line {line}: {message}")


def test_a_lost_connection_is_said_in_one_sentence(explain, place, capsys):
    (place / "remote.py").write_text("def predict(images):\n    raise ConnectionResetError('the server hung up')\n")
    said = refusal(capsys, explain(model="remote.py:predict"), status=3)
    assert said.endswith("remote.py, line 2: ConnectionResetError: the server hung up")


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError])
def test_a_slip_of_ours_shows_its_traceback_and_asks_for_a_report(explain, capsys, monkeypatch, error):
    inside = "def most_by_directions(*arguments, **options):\n    raise error('a \\x1b[2Jslip')\n"
    names = {"error": error}
    exec(compile(inside, announce.__file__, "exec"), names)
    monkeypatch.setattr(announce, "most_by_directions", names["most_by_directions"])
    assert explain() == 70
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "\x1b" not in said
    assert "this is a fault of freemcg, not yours; finished results are kept. Please report it" in said


def test_a_job_that_needs_too_much_memory_is_refused(explain, place, capsys):
    said = refusal(capsys, explain(image_size=10**7))
    assert said.startswith(
        "memory ran out; give smaller images (--image-size), fewer particles or a smaller batch_size, or another "
        "--device ("
    )
    assert tiny.asked(place) == []


def test_names_cannot_move_the_cursor_of_a_terminal(explain, place, capsys):
    (place / "pics" / "a.png").rename(place / "pics" / "a\x1b[2Jb\n.png")
    assert explain(images="pics") == 0
    printed = "".join(capsys.readouterr())
    assert "a\\x1b[2Jb\\n.png" in printed
    assert "\x1b[2J" not in printed


def test_class_names_and_words_of_a_model_cannot_either(explain, place, capsys):
    (place / "rude.py").write_text(
        "from freemcg import BlackBox\nfrom mine import brighter_right\n\n"
        'named = BlackBox(brighter_right, class_names=["a\\x1b[2Jb", "c\\nd", "e"])\n\n\n'
        'def breaks(images):\n    raise ValueError("no\\x1b[2J such\\n lamp")\n'
    )
    assert explain(images="pics", model="rude.py:named") == 0
    printed = "".join(capsys.readouterr())
    assert "a\\x1b[2Jb" in printed or "c\\nd" in printed
    assert explain(images="pics", model="rude.py:breaks", out="other") == 3
    said = capsys.readouterr().err
    assert said.endswith("no\\x1b[2J such lamp\n")
    assert "\x1b[2J" not in printed + said


def test_help_lists_the_exit_statuses(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for status, meaning in STATUSES.items():
        assert f"{status}  {meaning}" in shown


def test_debugging_keeps_every_traceback(explain, monkeypatch):
    monkeypatch.setenv("FREEMCG_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match="there is no picture or folder photos"):
        explain(images="photos")


def test_an_interrupted_job_says_how_to_go_on(explain, capsys):
    assert explain(model="mine.py:is_stopped") == 130
    printed = capsys.readouterr().err
    assert "freemcg: interrupted; finished results are kept" in printed
    assert "Traceback" not in printed


def test_a_spent_budget_is_said_in_one_sentence_and_results_are_kept(explain, place, capsys):
    assert explain(model="mine.py:poor") == 1
    printed = capsys.readouterr()
    said = "the budget ended: 1 of 3 images are explained, 1 in part; a second start goes on from them\n"
    assert printed.err.endswith(said)
    assert [line.split()[0] for line in printed.out.splitlines()[1:3]] == ["a.png", "b.png"]
    assert tiny.asked(place) == [12]
    statuses = [json.loads((place / "out" / name / "record.json").read_text())["status"] for name in ("a", "b")]
    assert statuses == ["complete", "budget_exhausted"]


@pytest.mark.parametrize(("budget", "paid"), [(100, 12), (11, 11)])
def test_the_smaller_of_two_budgets_holds(explain, place, budget, paid):
    assert explain(f"--budget={budget}", model="mine.py:poor") == 1
    assert tiny.asked(place) == [paid]


def test_options_override_the_config(explain, place):
    assert explain(images="pics/a.png") == 0
    assert tiny.asked(place) == [9]
    assert explain(images="pics/a.png", out="fewer", queries=5) == 0
    assert tiny.asked(place) == [9 + 5]
    assert explain(images="pics/a.png", out="reseeded", seed=5) == 0
    results = [Attribution.load(place / out / "a" / "result.safetensors") for out in ("out", "fewer", "reseeded")]
    assert [result.record["settings"]["queries"] for result in results] == [9, 5, 9]
    assert [result.record["settings"]["seed"] for result in results] == [0, 0, 5]
    assert not torch.equal(results[0].values, results[2].values)


def test_a_tolerance_ends_an_attribution_before_its_queries_do(explain, place):
    assert explain(images="pics/a.png", queries=400, tolerance=1000) == 0
    assert tiny.asked(place) == [33]
    result = Attribution.load(place / "out" / "a" / "result.safetensors")
    assert (result.status, result.queries) == ("complete", 33)
    assert result.record["settings"]["tolerance"] == 1000


def test_a_contribution_is_written_beside_the_map_and_pays_nothing_more(explain, place):
    assert explain("--contribution", images="pics/a.png") == 0
    assert tiny.asked(place) == [9]
    written = {path.name for path in (place / "out" / "a").iterdir()}
    assert written >= {"figure.png", "result.safetensors", "contribution.png", "contribution.safetensors"}
    result, found = (
        Attribution.load(place / "out" / "a" / f"{name}.safetensors") for name in ("result", "contribution")
    )
    torch.testing.assert_close(found.values, result.projected_gradient * (result.image - result.image.mean()))
    assert explain("--contribution") == 0  # of the two others
    assert tiny.asked(place) == [3 * 9 + 1]  # one query to see whether the model is the same
    assert main(["replay", "out"]) == 0


def test_queries_of_a_counterfactual_are_those_of_its_search(explain, place):
    assert explain(task="counterfactual", images="pics/a.png", queries=7) == 0
    result = Counterfactual.load(place / "out" / "a" / "result.safetensors")
    assert tiny.asked(place) == [result.queries]
    assert result.queries <= 7
    search = result.record["settings"]["search"]
    assert (search["queries"], search["particles"], search["steps"]) == (7, 2, 4)  # the rest comes from the config


def test_mean_and_std_are_said_on_the_command_line(explain, place):
    assert explain(mean="0.5", std="0.25", images="pics/a.png") == 0
    assert explain(images="pics/a.png", out="plain") == 0
    answers = [Attribution.load(place / out / "a" / "result.safetensors").log_probabilities for out in ("out", "plain")]
    logits = [each[0] - each[2] for each in answers]
    torch.testing.assert_close(logits[0] / logits[1], torch.tensor(4.0), rtol=0.05, atol=0)


def test_a_target_is_a_name_or_an_index(explain, place):
    assert explain(images="pics/a.png", model="mine.py:box", target="left") == 0
    assert explain(images="pics/a.png", model="mine.py:box", target="1", out="other") == 0
    named, numbered = (Attribution.load(place / out / "a" / "result.safetensors") for out in ("out", "other"))
    assert named.target == 1
    torch.testing.assert_close(named.values, numbered.values, rtol=0, atol=0)


def test_a_value_is_explained_and_moved(explain, place):
    assert explain(images="pics/a.png", model="mine.py:brightness_left", scores="value") == 0
    row = json.loads((place / "out" / "a" / "record.json").read_text())
    start = Attribution.load(place / "out" / "a" / "result.safetensors").log_probabilities.item()
    assert row["value"] == pytest.approx(start, rel=1e-4)
    moving = {"task": "counterfactual", "images": "pics/a.png", "model": "mine.py:brightness_left", "scores": "value"}
    assert explain(**moving, target="up:0.01", out="changed") == 0
    row = json.loads((place / "changed" / "a" / "record.json").read_text())
    assert row["value before"] == pytest.approx(start, rel=1e-4)
    assert row["flipped"] == (row["value"] >= row["value before"] + 0.01)
    assert main(["replay", "changed"]) == 0


def test_a_goal_that_is_none_is_refused_before_the_first_query(explain, place, capsys):
    moving = {"task": "counterfactual", "model": "mine.py:brightness_left", "scores": "value"}
    said = refusal(capsys, explain(**moving, target="higher"))
    assert said.startswith("the goal for a value is a number to reach, up:AMOUNT or down:AMOUNT")
    assert tiny.asked(place) == []


def test_a_counterfactual_is_written_as_the_image_that_was_judged(explain, place):
    assert explain(task="counterfactual", images="pics/a.png", target="1") == 0
    result = Counterfactual.load(place / "out" / "a" / "result.safetensors")
    record = json.loads((place / "out" / "a" / "record.json").read_text())
    assert record["target"] == "1"
    assert record["l1"] == pytest.approx(result.l1, rel=1e-4)
    assert record["queries"] == result.queries == sum(tiny.asked(place))


def test_a_trained_classifier_can_be_explained_by_the_names_of_its_folders(place, pipeline, capsys):
    tiny.make_pictures(place / "classes", tuple(f"{name}/{i}.png" for name in ("cats", "dogs") for i in range(4)))
    config = {"data": "digits", "image_size": 8, "width": 4, "steps": 2, "warmup": 1, "holdout": 0.25}
    (place / "train.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "classifier", "--config", "train.yaml", "--data", "classes", "--out", "trained"]) == 0
    record = json.loads((place / "trained" / "training.json").read_text())
    assert f"held-out accuracy {record['held_out_accuracy']:.4f}" in capsys.readouterr().out
    options = ["--model", "trained", "--denoiser", str(pipeline), "--config", "tiny.yaml", "--target", "dogs"]
    assert main(["attribute", "pics/a.png", "--out", "out", *options]) == 0
    assert json.loads((place / "out" / "a" / "record.json").read_text())["target"] == "dogs"
    status = main(["attribute", "pics", "--out", "out", *options, "--num-classes", "2"])
    assert refusal(capsys, status) == "trained says itself what it takes and answers; leave out --num-classes"


def test_training_refuses_what_it_does_not_know(place, capsys):
    (place / "train.yaml").write_text("step: 3")
    status = main(["train", "vae", "--config", "train.yaml", "--out", "trained"])
    assert refusal(capsys, status) == "train.yaml: unknown setting 'step'; did you mean 'steps'?"
    status = main(["train", "denoiser", "--config", "digits-denoiser", "--data", "nowhere", "--out", "trained"])
    assert refusal(capsys, status) == "there is no folder nowhere"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["attribute"],
        ["counterfactual"],
        ["compare"],
        ["train"],
        ["train", "vae"],
        ["convert"],
        ["report"],
    ],
)
def test_help_teaches_by_example(capsys, command):
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    examples = shown[shown.index("  Examples:") + 1 :]
    assert examples[0].startswith("    " + " ".join(["freemcg", *command]))


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"freemcg {version('freemcg')}\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["attribute", "--help"], 0),
        (["report", "--help"], 0),
        (["convert", "guided-diffusion", "--help"], 0),
        (["attribute", "pics", "--colour=red"], 2),
    ],
)
def test_help_and_refused_options_are_answered_without_loading_torch(arguments, status):
    program = (
        "import sys, freemcg.commands.app as app; "
        f"found = app.main({arguments!r}); sys.exit(99 if 'torch' in sys.modules else found)"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False, capture_output=True)
    assert done.returncode == status
