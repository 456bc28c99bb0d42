"""A model that fails ends a command with status 3 and one sentence, whatever it raises and whoever wrote the line."""

from __future__ import annotations

import re
import sysconfig

import pytest
import tiny

from freemcg.commands.app import main

HEAD = """\
import asyncio, functools, sys
import torch
from torch import nn


class Ended(BaseException):
    pass


class Parsing(Exception):
    def format_message(self):
        return "no number"


"""
LINEAR = r"\S*torch/nn/\S+\.py, line \d+: RuntimeError: mat1 and mat2 shapes cannot be multiplied \(1x64 and 784x3\)"
FAILING = {
    "layers of a library": ("model = nn.Sequential(nn.Flatten(), nn.Linear(784, 3)).eval()", LINEAR),
    "script": ("model = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)).eval())", ".*mat1 and mat2.*"),
    "no line at all": (
        "model = functools.partial(torch.mm, torch.zeros(2, 2))",
        "the model failed: RuntimeError: self must be a matrix|the model failed: RuntimeError: mat2 must be a matrix.*",
    ),
    "a library's function": (
        "def model(images):\n    return functools.reduce(min, [])",
        r"\S*mine.py, line 16: TypeError: reduce\(\) of empty (sequence|iterable) with no initial value",
    ),
    "our function": (
        "from freemcg.show.tables import print_table\n\ndef model(images):\n    return print_table(images)",
        r"\S*mine.py, line 18: \w+: .*",
    ),
    "no text": ("def model(images):\n    assert len(images) == 7", r"\S*mine.py, line 16: AssertionError"),
    "a parser's error": ("def model(images):\n    raise Parsing", r"\S*mine.py, line 16: Parsing"),
    "the end of an iterator": ("def model(images):\n    return next(iter([]))", r"\S*mine.py, line 16: StopIteration"),
    "the end of a generator": ("def model(images):\n    raise GeneratorExit", r"\S*mine.py, line 16: GeneratorExit"),
    "no Exception": ("def model(images):\n    raise Ended('it fell')", r"\S*mine.py, line 16: Ended: it fell"),
    "a cancelled task": (
        "def model(images):\n    raise asyncio.CancelledError('it waited')",
        r"\S*mine.py, line 16: CancelledError: it waited",
    ),
    "a network that cannot be moved": (
        "class Net(nn.Module):\n    def to(self, place):\n        raise OSError('no device')\n\nmodel = Net().eval()",
        r"\S*mine.py, line 17: OSError: no device",
    ),
    "an exit within a library": ("model = functools.partial(sys.exit)", "the model failed: SystemExit: .*"),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make_place(tmp_path, ("a.png",))


@pytest.mark.parametrize("verb", ["attribute", "probe"])
@pytest.mark.parametrize("kind", FAILING)
def test_what_fails_within_the_models_call_is_the_models_failure(place, pipeline, capsys, kind, verb):
    source, sentence = FAILING[kind]
    (place / "mine.py").write_text(HEAD + source + "\n")
    options = ["--config", "tiny.yaml", "--out", "out"] if verb == "attribute" else []
    assert main([verb, "pics", "--model", "mine.py:model", "--denoiser", str(pipeline), *options]) == 3
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" not in printed.replace("Traceback of TorchScript", "")
    said = [line for line in printed.splitlines() if line.startswith("freemcg: ")]
    assert len(said) == 1
    assert re.fullmatch(sentence, said[0].removeprefix("freemcg: ")), said


@pytest.mark.parametrize("where", ["at its import", "in a call"])
def test_a_model_that_changes_the_working_folder_loses_no_result(place, pipeline, where):
    leave = "__import__('os').chdir('/')"
    before, within = (leave, "pass") if where == "at its import" else ("", leave)
    (place / "mine.py").write_text(f"{before}\ndef model(images):\n    {within}\n    return images.flatten(1)[:, :3]\n")
    words = ["--denoiser", str(pipeline), "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", "--model", "mine.py:model", *words]) == 0
    assert (place / "out" / "a" / "result.safetensors").is_file()


def test_a_folder_of_results_that_is_removed_meanwhile_loses_no_answer(place, pipeline):
    (place / "mine.py").write_text(
        "import shutil\ndef model(images):\n    shutil.rmtree('out', ignore_errors=True)\n"
        "    return images.flatten(1)[:, :3]\n"
    )
    words = ["--denoiser", str(pipeline), "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", "--model", "mine.py:model", *words]) == 0
    assert (place / "out" / "a" / "result.safetensors").is_file()


def test_a_network_without_values_is_refused(place, pipeline, capsys):
    (place / "mine.py").write_text(
        HEAD + "model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, device='meta')).eval()\n"
    )
    words = ["--denoiser", str(pipeline), "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", "--model", "mine.py:model", *words]) == 2
    said = "'1.weight' of the network has no values, since it is on the device meta; load its weights"
    assert capsys.readouterr().err == f"freemcg: {said}\n"


def test_a_file_that_raises_no_exception_at_its_import_is_refused(place, pipeline, capsys):
    (place / "mine.py").write_text(HEAD + "raise Ended('it fell')\n")
    words = ["--denoiser", str(pipeline), "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", "--model", "mine.py:model", *words]) == 2
    assert capsys.readouterr().err.endswith("mine.py cannot be imported: line 15: Ended: it fell\n")


VENDOR = """\
class Service:
    identity = "a service"

    def answers(self, images, charge):
"""
SERVICES = {
    "a failure at once": ("raise KeyError('token')", 3, r"{}, line 5: KeyError: 'token'"),
    "a failure in between": (
        "charge(1, False); yield 0, 1, images[:1, 0, 0, :3]; raise TimeoutError('no answer')",
        3,
        r"{}, line 5: TimeoutError: no answer",
    ),
    "no iterable": ("return None", 3, r"vendor\.Service: TypeError: 'NoneType' object is not iterable"),
    "no triples": ("yield images", 2, r"Service\.answers must yield \(start, count, scores\), got Tensor"),
    "no whole number": (
        "yield 'a', 1, images",
        2,
        "the start from Service.answers must be a whole number, got 'a'",
    ),
    "an image twice": (
        "yield from [(0, 1, images[:1, 0, 0, :3])] * 2",
        2,
        r"Service\.answers answered images 0\.\.0, of which some were answered before or are not among the \d asked "
        "about; it must answer each once",
    ),
    "an image left out": (
        "yield from ()",
        2,
        r"Service\.answers left image 0 of \d without an answer; it must answer each once",
    ),
}


@pytest.mark.parametrize("verb", ["attribute", "probe"])
@pytest.mark.parametrize("kind", SERVICES)
def test_what_an_installed_service_does_wrong_is_not_ours(place, pipeline, capsys, kind, verb):
    body, status, sentence = SERVICES[kind]
    installed = sysconfig.get_path("purelib") + "/vendor.py"
    code = f"compile({VENDOR + '        ' + body!r}, {installed!r}, 'exec')"
    (place / "mine.py").write_text(
        f"names = {{'__name__': 'vendor'}}\nexec({code}, names)\nmodel = names['Service']()\n"
    )
    options = ["--config", "tiny.yaml", "--out", "out"] if verb == "attribute" else []
    assert main([verb, "pics", "--model", "mine.py:model", "--denoiser", str(pipeline), *options]) == status
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    (said,) = [line for line in printed.splitlines() if line.startswith("freemcg: ")]
    assert re.fullmatch(sentence.format(rf"vendor\.Service, {installed}"), said.removeprefix("freemcg: ")), said
