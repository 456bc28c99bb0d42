"""The answers along a path, as the page tells and draws them. `test_page_along_browser.py` opens it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from explanations import NAMES, make_counterfactual

from freemcg.show.page.along import along, log_odds, unasked
from freemcg.show.page.certainty import tiles
from freemcg.show.page.change import change, shown_steps
from freemcg.show.page.explained import Explained
from freemcg.show.page.explanation import drawn

DOG = (1e-6, 0.2, 1 / 3, 0.999, 0.8)
"""The chance of the target at each step; the last is that of the answer itself."""


def asked(chances=DOG, record=None, **changes):
    """A counterfactual from cat (0.3 for dog) to dog. What dog leaves is shared by cat and owl, 1 to 3."""
    dog = torch.tensor(chances)
    rows = torch.stack([(1 - dog) / 4, dog, (1 - dog) * 3 / 4], dim=1).log()
    result = make_counterfactual(
        steps=len(rows),
        path_log_probabilities=rows,
        log_probabilities=rows[-1],
        record={"class_names": NAMES, "scores": "logits", "path_queries": 4, **(record or {})},
    )
    result = replace(result, path=torch.cat([result.path[:-1], result.image[None]]))
    return replace(result, **changes)


def text(html):
    """What a reader sees of HTML, with single spaces."""
    shown = re.sub(r"<(script|template|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", shown).split())


def page(result):
    return drawn(Explained("a", "a.png", None, result))[1]


def test_the_curve_is_the_log_odds_of_the_target_and_its_marks_are_chances():
    found = along(asked(), shown_steps(asked())).curve
    odds = [math.log(chance / (1 - chance)) for chance in (0.3, *DOG)]
    top, bottom = max(odds), min(odds)
    heights = [10 + 130 * (top - each) / (top - bottom) for each in odds]
    assert found.heights == pytest.approx(heights, abs=0.06)
    marks = {"1 in 2": 0.0, "999 in 1,000": math.log(999), "1 in 1,000": -math.log(999)}
    assert {name: at for at, name in found.marks} == {
        name: pytest.approx(10 + 130 * (top - each) / (top - bottom), abs=0.06) for name, each in marks.items()
    } | {"1 in a million": pytest.approx(140, abs=0.06)}
    assert found.line.count("L") == len(DOG) - 1  # the input has a link of its own
    assert found.link == f"M0 {found.heights[0]}L1 {found.heights[1]}"


@pytest.mark.parametrize(
    ("chances", "names"),
    [
        ((0.05, 0.95), ["9 in 10", "1 in 2", "1 in 10"]),
        ((0.4, 0.6), ["1 in 2"]),
        ((1e-13, 0.5, 0.9999), ["1 in 2", "1 in a million", "1 in a trillion"]),
    ],
)
def test_the_marks_fit_the_curve(chances, names):
    result = asked(chances)
    assert [name for _, name in along(result, shown_steps(result)).curve.marks] == names


def test_odds_are_exact_near_one_and_have_an_end():
    rows = torch.tensor([[0.0, 40.0], [-200.0, 0.0]]).log_softmax(dim=1)
    assert log_odds(rows, 1).tolist() == pytest.approx([40, 200])
    far = torch.tensor([[0.0, -50.0, -3.0], [0.0, -200.0, -3.0], [0.0, 0.0, 0.0]]).log_softmax(dim=1)
    result = asked((0.1, 0.2, 0.8), path_log_probabilities=far)
    assert along(result, [0, 1]).curve.heights[1:3] == [140, 140]  # both beyond a trillion to one
    sure = torch.tensor([[0.0, -math.inf, -math.inf]])
    result = asked(path_log_probabilities=sure.expand(5, 3))
    found = along(result, shown_steps(result)).curve
    assert all(math.isfinite(height) for height in found.heights)
    assert found.heights[1] == max(found.heights) == 140


def test_the_strip_has_a_run_for_steps_that_are_decided_alike():
    found = along(asked(), shown_steps(asked()))
    assert [(run.name, run.kind, run.first, run.last) for run in found.runs] == [
        ("cat", "input", 0, 0),
        ("owl", "other", 1, 3),
        ("dog", "target", 4, 5),
    ]
    assert [(run.left, run.width) for run in found.runs] == [
        (0, pytest.approx(10)),
        (pytest.approx(10), pytest.approx(60)),
        (pytest.approx(70), pytest.approx(30)),
    ]
    assert found.told[1:5] == ["decided owl, 75 %", "decided owl, 60 %", "decided owl, 50 %", "decided dog, 99.90 %"]


def test_the_text_for_the_curve_is_made_from_its_numbers():
    assert along(asked(), shown_steps(asked())).spoken == (
        "The chance of dog: 30 % for the input, 1 in 1 million for step 1, 99.90 % for step 4, 80 % for the answer. "
        "Decided along the path: the input cat; step 1 to step 3 owl; step 4 to the answer dog."
    )


@pytest.mark.parametrize(
    ("chances", "changes", "said"),
    [
        (DOG, {}, "From step 4 on, every picture here is decided dog."),
        ((0.9, 0.9, 0.9), {}, "From step 1 on, every picture here is decided dog."),
        ((0.1, 0.3, 0.1, 0.9), {}, "Of all pictures here, only the last is decided dog."),
        ((0.1, 0.9, 0.1, 0.9), {}, "The last picture is decided dog, and so is 1 step on the way."),
        ((0.9, 0.9, 0.1, 0.9), {}, "The last picture is decided dog, and so are 2 steps on the way."),
        ((0.1, 0.9, 0.1, 0.1), {"decision": 2}, "1 step is decided dog, but the best found is not."),
        ((0.1, 0.1, 0.1), {"decision": 2}, "No step is decided dog."),
    ],
)
def test_where_the_decision_turns_is_said(chances, changes, said):
    result = asked(chances, **changes)
    assert along(result, shown_steps(result)).said == said
    assert said in text(page(result))


def test_only_the_steps_shown_are_told_of_many():
    chances = torch.linspace(0.01, 0.99, 100).tolist()
    result = asked(chances)
    shown = change(result)
    assert len(shown.numbers["heights"]) == len(shown.numbers["told"]) == len(shown.frames) + 2 == 26
    steps = shown_steps(result)
    assert steps[:2] + steps[-1:] == [0, 4, 98]
    assert shown.numbers["told"][2] == f"decided owl, {(1 - chances[4]) * 75:.0f} %"


@pytest.mark.parametrize(
    "record",
    [
        {"scores": "label"},
        {"scores": "value", "class_names": ["age as before", "age 40", "?"], "value before": 31.0, "value": 39.5},
    ],
)
def test_answers_without_chances_have_a_strip_and_no_curve(record):
    html = page(asked(record=record))
    assert 'class="strip"' in html
    assert 'class="curve"' in html  # of the distance
    assert "Chance of" not in html
    told = text(html)
    if record["scores"] == "value":
        assert "From step 4 on, every picture here is as wanted." in told
        assert "step 1 to step 3 not as wanted" in html
    else:
        assert "From step 4 on, every picture here is decided dog." in told


def test_a_label_to_turn_on_has_a_curve():
    names = {"class_names": ["not smiling", "smiling", "?"], "scores": "multi_label", "goal": 1}
    assert "Chance of smiling" in text(page(asked(record=names)))


def test_the_price_is_told_or_that_nothing_was_asked():
    told = text(page(asked()))
    assert "To ask about the steps cost 4 queries of those counted below." in told
    assert "not asked" not in told
    (tile,) = [each for each in tiles(None, asked(), None) if each.name == "Asked"]
    assert tile.note == "105 for the counterfactual (4 of them for the steps on its path)"
    without = replace(make_counterfactual(), record={"class_names": NAMES})
    told = text(page(without))
    assert "What the classifier thinks of the steps was not asked; freemcg counterfactual --ask-path asks it." in told
    assert 'class="strip"' not in page(without)
    short = replace(without, record={"settings": {"ask_path": True}})
    assert unasked(short).endswith("was not asked, since the budget had too few queries left.")
    many = asked((0.1,) * 39 + (0.9,))
    assert "To ask about all 40 steps cost 4 queries of those counted below; 24 of them are shown." in text(page(many))
    other = replace(without, record={"settings": {"search": {"method": "pixel_search"}}})
    assert unasked(other) == "What the classifier thinks of the steps was not asked."


def test_where_nothing_was_found_nothing_is_drawn():
    same = replace(asked(), image=asked().original)
    assert 'class="path' not in page(same)


def test_a_chance_is_never_said_to_be_all():
    html = page(asked((0.5, 1.0, 1.0), record={"class_names": ["<b>cat", "<b>dog", "<b>owl"]}))
    assert "100 %" not in text(html)
    assert "over 99.99 %" in html
    assert "<b>dog" not in html.replace("<b>&lt;", "")
    numbers = json.loads(re.search(r'class="numbers">(.*?)</script>', html)[1], parse_constant=pytest.fail)
    assert numbers["change"]["told"][2] == "decided <b>dog, over 99.99 %"
