"""The README and the pages of `docs/`: their links lead somewhere, and their blocks of code run.

A block that cannot be run here has `<!-- not run: WHY -->` on the line before it. Its commands are still parsed.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
import typer
import yaml
from accelerate.commands.launch import launch_command_parser

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.__main__ import main
from freemcg.blackbox import EndpointDescription
from freemcg.comparison.recipe import Recipe
from freemcg.settings import Settings, make
from freemcg.training import DenoiserTraining

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+) -->\n)?^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE
)
MODEL = """\
import torch


def small_network():
    torch.manual_seed(0)
    layers = torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 10)
    return torch.nn.Sequential(*layers).eval()


network = small_network()


def predict(images):
    with torch.no_grad():
        return network(images)
"""


@dataclass(frozen=True)
class Block:
    """A block of code: its page, the line on which it begins, and the reason if it is not run."""

    page: Path
    line: int
    language: str
    text: str
    why: str | None

    def __str__(self):
        return f"{shown(self.page)}:{self.line}"


def shown(page):
    return str(page.relative_to(ROOT))


def blocks_of(page):
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start("text")) + 1, found["language"], found["text"], found["why"])
        for found in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def in_language(*languages):
    return [block for block in BLOCKS if block.language in languages]


def commands_of(block):
    """The commands of a block, one a line, as words. Variables that are set before a command are left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [each[next(i for i, word in enumerate(each) if "=" not in word) :] for each in words if each]


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs both make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_the_table_of_contents_names_every_page():
    def listed(entry):
        if isinstance(entry, str):
            return [entry]
        values = entry if isinstance(entry, list) else entry.values()
        return [name for value in values for name in listed(value)]

    names = listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(names) == [str(page.relative_to(ROOT / "docs")) for page in sorted(PAGES[1:])]


def test_pictures_that_are_shown_are_those_that_are_drawn():
    drawn = {path.name for path in (ROOT / "docs" / "pictures").glob("*.png")}
    linked = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text()) if link.endswith(".png")}
    known = runpy.run_path(str(ROOT / "docs" / "pictures.py"), run_name="pictures")["PICTURES"]
    assert drawn == linked == {f"{name}.png" for name in known}


def test_the_picture_of_the_method_is_drawn(tmp_path):
    figure = runpy.run_path(str(ROOT / "docs" / "pictures.py"), run_name="pictures")["plane"]()
    assert [axes.get_title()[:2] for axes in figure.axes] == ["1.", "2.", "3.", "4."]


def test_the_readme_is_short_and_holds_the_commands_that_ci_runs():
    lines, ci = README.read_text().splitlines(), (ROOT / ".ci" / "run").read_text()
    assert len(lines) <= 140
    installs = [line.strip() for line in lines if line.startswith("    pip install ")]
    assert len(installs) == 2
    for command in (part.strip() for line in installs for part in line.split("&&")):
        assert command.replace("pip install", "pip install --quiet") in ci


def test_every_block_is_of_a_kind_that_is_checked():
    kinds = {"python", "bash", "yaml", "json", "text", "bibtex"}
    assert [str(block) for block in BLOCKS if block.language not in kinds] == []


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder, with the files that the pages name."""
    folder = tmp_path_factory.mktemp("user")
    pipeline = tiny.make_pipeline(folder / "path" / "or" / "hub-id")
    schedule = pipeline / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps({**json.loads(schedule.read_text()), "num_train_timesteps": 100}))
    tiny.make_pictures(folder / "photos", ("a.png", "b.png"))
    tiny.make_pictures(folder, ("photo.png",))
    (folder / "my_model.py").write_text(MODEL)
    return folder


@pytest.mark.parametrize("page", sorted({block.page for block in in_language("python")}), ids=shown)
def test_python_blocks_run_one_after_another(page, place, monkeypatch):
    monkeypatch.chdir(place)
    model = runpy.run_path("my_model.py")
    names = {"my_model": model["network"], "other_model": lambda images: -model["predict"](images)}
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    names |= {"images": images, "image": images[0]}
    if page not in (README, ROOT / "docs" / "your-model.md"):  # these two begin with that code
        denoiser, box = Denoiser.from_pretrained("path/or/hub-id"), BlackBox(model["predict"])
        names |= {"FreeMCG": FreeMCG, "BlackBox": BlackBox, "denoiser": denoiser, "box": box, **model}
    for block in blocks_of(page):
        if block.language == "python" and block.why is None:
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), names)
    assert (place / "counterfactual.png").exists() or page != README


@pytest.mark.parametrize("block", in_language("bash"), ids=str)
def test_shell_commands_are_understood(block, monkeypatch):
    for words in commands_of(block):
        check_command(words, monkeypatch)


def check_command(words, monkeypatch):
    """Fail if a command has an unknown option, or names a file of the repository that does not exist."""
    if words[0] == "freemcg":
        assert main([*words[1:], "--help"]) == 0
    elif words[:2] == ["accelerate", "launch"]:
        launched = launch_command_parser().parse_args(words[2:])
        assert launched.module
        check_command([launched.training_script, *launched.training_script_args], monkeypatch)
    elif words[0] == "python":
        check_script(ROOT / words[1], words[2:], monkeypatch)
    elif words[:2] == ["pip", "install"]:
        check_install(words[2:])
    else:
        raise AssertionError(f"nobody checks {words[0]}")


def check_script(path, arguments, monkeypatch):
    assert path.is_file()
    if arguments:
        monkeypatch.syspath_prepend(path.parent)
        command = typer.main.get_command(runpy.run_path(str(path))["app"])
        command.main([*arguments, "--help"], standalone_mode=False)


def extras():
    """The names of the extras that the package has."""
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    return set(re.findall(r"^(\w+) = ", table, re.MULTILINE))


def check_install(words):
    assert words[:2] == ["-c", "constraints.txt"]
    for word in words[2:]:
        named = re.fullmatch(r"\.(?:\[(.+)\])?|mlserver", word)
        assert named
        assert set((named[1] or "").split(",")) - {""} <= extras()


def test_the_first_page_tells_every_extra():
    assert set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)) == extras()


@pytest.mark.parametrize("block", [each for each in in_language("bash") if each.why is None], ids=str)
def test_commands_of_freemcg_run(block, place, monkeypatch):
    monkeypatch.chdir(place)
    for words in commands_of(block):
        if words[0] == "freemcg":
            assert main(words[1:]) == 0


@pytest.mark.parametrize("block", in_language("yaml"), ids=str)
def test_yaml_blocks_are_what_a_file_may_hold(block):
    values = yaml.safe_load(block.text)
    kinds = {"url": EndpointDescription, "network": DenoiserTraining, "methods": Recipe}
    make(next((kinds[key] for key in kinds if key in values), Settings), values)


@pytest.mark.parametrize("block", in_language("json"), ids=str)
def test_json_blocks_are_json(block):
    json.loads(block.text)
