"""Pipelines of several kinds, named on the command line."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import tiny
import torch
from kinds import DISCRETE, PIPELINES, save_pipeline
from latents import LATENT, save_latent_pipeline
from PIL import Image
from unets import tiny_unet

from freemcg import Attribution, Counterfactual, Denoiser
from freemcg.__main__ import main
from freemcg.identity.network import identity

SCHEDULER = diffusers.DDPMScheduler(num_train_timesteps=20)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make_place(tmp_path, ("a.png",))


def run(task, out, *options):
    given = ["--model", "mine.py:brighter_right", "--denoiser", "prior", "--config", "tiny.yaml", "--out", out]
    return main([task, "pics", *given, *options])


def made(out):
    return Attribution.load(Path(out, "a", "result.safetensors"))


def save_classes():
    torch.manual_seed(0)
    diffusers.DDPMPipeline(tiny_unet(num_class_embeds=5), SCHEDULER).save_pretrained("prior")


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
@pytest.mark.parametrize("kind", [*DISCRETE, *PIPELINES])
def test_a_pipeline_of_each_kind_explains_and_is_replayed(kind, task, place, capsys):
    save_pipeline(kind, "prior")
    assert run(task, "out") == 0
    result = (Attribution if task == "attribute" else Counterfactual).load(place / "out" / "a" / "result.safetensors")
    assert f":{kind.split(maxsplit=1)[0]}" in result.record["denoiser_identity"]
    found = result.values if task == "attribute" else result.image - result.original
    assert found.isfinite().all()
    assert found.abs().max() > 0
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
@pytest.mark.parametrize("kind", LATENT)
def test_a_latent_pipeline_of_each_kind_explains_and_is_replayed(kind, task, place, capsys):
    pipeline = save_latent_pipeline(kind, "prior")
    assert run(task, "out") == 0
    result = (Attribution if task == "attribute" else Counterfactual).load(place / "out" / "a" / "result.safetensors")
    autoencoder = identity(pipeline.components.get("vqvae") or pipeline.components["vae"])
    assert f":{autoencoder}:0.18215:0" in result.record["denoiser_identity"]
    assert result.record["autoencoder"]["l1"] > 0.05
    assert sum(tiny.asked(place)) == result.queries
    found = result.values if task == "attribute" else result.image - result.original
    assert found.shape == (1, 8, 8)
    assert found.isfinite().all()
    assert found.abs().max() > 0
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out
    save_latent_pipeline(kind, "prior", scaling_factor=0.2)
    assert run(task, "out") == 2
    assert "out holds results made with another denoiser" in capsys.readouterr().err


def test_a_text_is_named_recorded_and_replayed(place, capsys):
    save_latent_pipeline("Stable Diffusion", "prior")
    assert run("attribute", "out", "--prompt", "a cat") == 0
    assert "Loading" not in capsys.readouterr().err
    result = Attribution.load(place / "out" / "a" / "result.safetensors")
    assert result.record["condition"] == {"prompt": "a cat", "guidance_scale": 1.0}
    assert ":text 'a cat', " in result.record["denoiser_identity"]
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out
    assert run("attribute", "out") == 2
    assert "out holds results made with another denoiser" in capsys.readouterr().err
    assert main(["plan", "pics", "--model", "mine.py:brighter_right", "--config", "tiny.yaml"]) == 0
    assert f"queries: at most {result.queries}, in " in capsys.readouterr().out


def test_a_text_for_a_model_that_takes_none_is_refused_before_the_first_query(place, capsys):
    save_latent_pipeline("DiT", "prior")
    assert run("counterfactual", "out", "--prompt", "a cat") == 2
    assert "the denoiser prior takes no text; leave out prompt='a cat'" in capsys.readouterr().err
    assert tiny.asked(place) == []


def test_a_class_and_a_dtype_that_are_named_in_a_python_file_are_replayed(place, capsys):
    save_classes()
    (place / "told.py").write_text(
        "import torch\nfrom freemcg import Denoiser\n"
        "prior = Denoiser.from_pretrained('prior', condition=3, dtype=torch.bfloat16)\n"
    )
    given = ["--model", "mine.py:brighter_right", "--denoiser", "told.py:prior", "--config", "tiny.yaml"]
    assert main(["attribute", "pics", *given, "--out", "out"]) == 0
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out
    assert main(["attribute", "pics", *given, "--out", "other", "--condition", "2"]) == 2
    assert "told.py:prior sets up its network itself; leave out --condition" in capsys.readouterr().err


STEADY = """

def steady(images):
    return brighter_right(images) / 1000 + torch.tensor([5.0, 0, 0])
"""


@pytest.mark.parametrize(("predict", "changes"), [("brighter_right", True), ("steady", False)])
def test_a_loss_that_changes_the_decision_is_said(predict, changes, place, capsys):
    save_latent_pipeline(LATENT[0], "prior")
    (place / "mine.py").write_text(tiny.MODEL + STEADY)
    given = ["--model", f"mine.py:{predict}", "--denoiser", "prior", "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", *given]) == 0
    noted = Attribution.load(place / "out" / "a" / "result.safetensors").record["autoencoder"]
    assert noted["changes_decision"] is changes
    said = (
        "autoencoder: 1 of 1; the decision changes as soon as the denoiser's autoencoder has encoded and decoded the "
        f"image (mean change of a pixel up to {noted['l1']:.2g}), so what is explained is another decision. Take a "
        "denoiser on pixels, or one with an autoencoder for such images\n"
    )
    assert (said in capsys.readouterr().err) is changes


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
def test_a_class_is_named_recorded_and_replayed(task, place, capsys):
    save_classes()
    assert run(task, "out", "--condition", "3") == 0
    kind = Attribution if task == "attribute" else Counterfactual
    result = kind.load(place / "out" / "a" / "result.safetensors")
    assert result.record["condition"] == {"condition": 3, "guidance_scale": 1.0, "null_class": None}
    assert result.record["denoiser_identity"].endswith(":class 3")
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out
    assert run(task, "out", "--condition", "2") == 2
    assert "out holds results made with another denoiser" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("classes", {"condition": 3, "null_class": 4, "guidance_scale": 2.5}),
        ("classes", {"null_class": 4}),
        ("DiT", {"condition": 3, "guidance_scale": 2.5}),
        ("Stable Diffusion", {"prompt": "a cat", "guidance_scale": 2.5}),
    ],
)
def test_what_a_model_is_told_is_that_of_python_and_is_replayed(kind, told, place, capsys):
    save_classes() if kind == "classes" else save_latent_pipeline(kind, "prior")
    named = [word for name, value in told.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert run("attribute", "out", *named) == 0
    record, denoiser = made("out").record, Denoiser.from_pretrained("prior", **told)
    assert (record["condition"], record["denoiser_identity"]) == (denoiser.condition.record, denoiser.identity)
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (["--condition", "3"], "the denoiser digits takes no class; leave out condition=3"),
        (["--null-class", "3"], "the denoiser digits takes no class; leave out null_class=3"),
        (["--guidance-scale", "2"], "the denoiser digits takes no class; leave out guidance_scale=2"),
        (["--prompt", "a cat"], "the denoiser digits takes no text; leave out prompt='a cat'"),
    ],
)
@pytest.mark.parametrize("verb", ["attribute", "counterfactual", "compare", "probe"])
def test_what_the_bundled_digits_cannot_be_told_is_refused_by_their_name(verb, told, message, place, capsys):
    out = [] if verb == "probe" else ["--out", "out"]
    assert main([verb, "pics", "--model", "mine.py:brighter_right", "--denoiser", "digits", *out, *told]) == 2
    assert capsys.readouterr().err == f"freemcg: {message}\n"
    assert tiny.asked(place) == []


def test_a_class_that_is_missing_is_asked_for_before_the_first_query(place, capsys):
    save_classes()
    assert run("attribute", "out") == 2
    assert "the denoiser prior needs a class; give condition (--condition), one of 0..4" in capsys.readouterr().err
    assert main(["probe", "pics", "--model", "mine.py:brighter_right", "--denoiser", "prior"]) == 2
    assert tiny.asked(place) == []


GAUSSIAN = """
import torch
from freemcg import Denoiser

def to_grey(noisy, sigma):
    return 0.5 + (noisy - 0.5) * 0.04 / (0.04 + sigma**2)

prior = Denoiser.gaussian(to_grey, sigmas=(0.004, 0.3))
number = 3
"""


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
def test_a_denoiser_in_a_python_file_explains_and_is_replayed(task, place, capsys):
    """The denoiser is exact for independent pixels of variance .04, so the map has the signs of the slopes."""
    (place / "own.py").write_text(GAUSSIAN)
    given = ["--model", "mine.py:brighter_right", "--denoiser", "own.py:prior", "--config", "tiny.yaml"]
    assert main([task, "pics", *given, "--out", "out"]) == 0
    result = (Attribution if task == "attribute" else Counterfactual).load(place / "out" / "a" / "result.safetensors")
    assert result.record["denoiser"] == "own.py:prior"
    assert (result.values if task == "attribute" else result.image - result.original).abs().max() > 0
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("own.py:number", [], "own.py:number is a int; it must be callable"),
        ("own.py:to_grey", [], "own.py:to_grey is a function; --denoiser needs a freemcg.Denoiser, such as "),
        ("own.py:prior", ["--condition", "1"], "sets up its network itself; leave out --condition"),
        ("own.py", [], "own.py is a file; a denoiser is a folder made by save_pretrained; of a Denoiser in a Python "),
    ],
)
def test_what_is_no_denoiser_is_refused_before_the_first_query(name, more, message, place, capsys):
    (place / "own.py").write_text(GAUSSIAN)
    given = ["--model", "mine.py:brighter_right", "--denoiser", name, "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", *given, *more]) == 2
    assert message in capsys.readouterr().err
    assert tiny.asked(place) == []


def test_the_precision_is_recorded_replayed_and_changes_a_map_by_little(place, pipeline, capsys):
    """Half precision keeps 8 bits of a number, so a map of its particles is the same to some hundredths."""
    given = ["--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    maps = {}
    for dtype in ("float32", "bfloat16"):
        assert main(["attribute", "pics", *given, "--out", dtype, "--dtype", dtype]) == 0
        maps[dtype] = Attribution.load(place / dtype / "a" / "result.safetensors")
        assert maps[dtype].values.dtype == torch.float32
        assert maps[dtype].record.get("denoiser_dtype") == (None if dtype == "float32" else dtype)
        assert main(["replay", dtype]) == 0
        assert "equal to the last digit" in capsys.readouterr().out
    one, other = (each.values for each in maps.values())
    assert 0 < (one - other).norm() < 0.05 * one.norm()
    assert main(["attribute", "pics", *given, "--out", "float32", "--dtype", "bfloat16"]) == 2
    assert "float32 holds results made with another denoiser" in capsys.readouterr().err
    assert main(["attribute", "pics", *given, "--out", "out", "--dtype", "half"]) == 2
    assert "dtype must be one of float32, float16, bfloat16, got 'half'" in capsys.readouterr().err


SIZES = """

def notes_sizes(images):
    with Path(__file__).with_name("sizes.txt").open("a") as sizes:
        sizes.write(f"{len(images)} ")
    return brighter_right(images)


own = BlackBox(notes_sizes)
"""


@pytest.mark.parametrize("model", ["notes_sizes", "own"])
def test_the_batch_size_bounds_both_models_and_is_recorded_and_replayed(model, place, pipeline, capsys):
    (place / "mine.py").write_text(tiny.MODEL + SIZES)
    (place / "told.py").write_text(f"from freemcg import Denoiser\nprior = Denoiser.from_pretrained('{pipeline}')\n")
    denoiser = str(pipeline) if model == "notes_sizes" else "told.py:prior"
    given = ["--model", f"mine.py:{model}", "--denoiser", denoiser, "--config", "tiny.yaml"]
    largest = {}
    for out, options in (("default", []), ("small", ["--batch-size", "3"])):
        assert main(["attribute", "pics", *given, "--out", out, *options]) == 0
        largest[out] = max(int(each) for each in (place / "sizes.txt").read_text().split())
        (place / "sizes.txt").unlink()
    assert main(["replay", "small"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out
    assert largest["default"] > 3 == largest["small"]
    default, small = made("default"), made("small")
    assert (default.record.get("denoiser_batch_size"), small.record["denoiser_batch_size"]) == (None, 3)
    assert small.record["denoiser_identity"] == default.record["denoiser_identity"]
    torch.testing.assert_close(small.values, default.values, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("verb", ["attribute", "counterfactual", "compare", "plan", "probe"])
def test_every_verb_takes_a_batch_size_and_refuses_none(verb, place, capsys):
    assert main([verb, "--batch-size", "0", "pics", "--model", "mine.py:brighter_right"]) == 2
    assert "Invalid value for '--batch-size'" in capsys.readouterr().err
    assert tiny.asked(place) == []


@pytest.mark.parametrize("task", ["attribute", "counterfactual", "probe"])
def test_a_picture_in_colour_needs_a_named_denoiser(task, place, capsys):
    pixels = np.full((32, 32, 3), 90, np.uint8)
    Image.fromarray(pixels).save("grey.png")
    pixels[3, 4, 2] = 91
    Image.fromarray(pixels).save("colour.png")
    out = [] if task == "probe" else ["--out", "out"]
    assert main([task, "colour.png", "--model", "mine.py:brighter_right", *out]) == 2
    assert "colour.png is in colour, and the diffusion model of digits" in capsys.readouterr().err
    assert not Path("out").exists()
    main([task, "grey.png", "--model", "mine.py:brighter_right", *out])
    assert "in colour" not in capsys.readouterr().err
