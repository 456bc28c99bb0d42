"""What a page claims follows from the method that made the result, and from the realism that was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explanations import NAMES, make_attribution, make_counterfactual

from freemcg.show.page.certainty import tiles
from freemcg.show.page.change import change
from freemcg.show.page.explained import Explained
from freemcg.show.page.explanation import drawn
from freemcg.show.page.gallery import lede, title
from freemcg.show.page.words import counted

READS = {"class_names": NAMES, "method": "Adversarial", "reads_weights": True, "drawn_by_image_model": False}
ASKS = {"class_names": NAMES, "method": "PixelSearch", "reads_weights": False, "drawn_by_image_model": False}
OLD = {"class_names": NAMES, "method": "DVCE"}


def section(**changes):
    return drawn(Explained("a", "a.png", None, make_counterfactual(**changes)))


def test_a_method_that_reads_gradients_is_named_and_not_called_never_opened():
    card, html = section(record=READS)
    assert lede([card]).striptags().startswith("A classifier was asked 105 times. For 1 of 1 picture")
    assert "It was found by Adversarial, which reads the classifier's gradients." in html.replace("&#39;", "'")
    assert "The path shows the steps of the search to its answer." in html
    assert "blurred" not in html.split("</section>")[1]


def test_a_method_that_only_asks_is_named_and_was_never_opened():
    card, html = section(record=ASKS)
    assert "asked 105 times, never opened." in lede([card]).striptags()
    assert "It was found by PixelSearch, which only asks." in html


def test_a_record_that_does_not_tell_bears_no_claim():
    card, html = section(record=OLD)
    assert "never opened" not in lede([card])
    assert "It was found by DVCE." in html


def test_our_search_is_not_named_and_its_path_begins_blurred():
    card, html = section()
    assert "never opened" in lede([card])
    assert "It was found by" not in html
    assert "from its first blurred guess" in html


@pytest.mark.parametrize(
    ("realism", "said", "found"),
    [
        (0.9, "The nearest realistic picture found that is decided dog.", "a realistic change of at most"),
        (1.25, "The nearest realistic picture found that is decided dog.", "a realistic change of at most"),
        (
            12.0,
            "The nearest picture found that is decided dog. It is less realistic than the input.",
            "a change of at most",
        ),
    ],
)
def test_a_picture_is_called_realistic_only_if_it_is(realism, said, found):
    result = make_counterfactual(realism=realism)
    assert change(result).said.striptags() == said
    assert found in lede([drawn(Explained("a", "a.png", None, result))[0]])


def test_one_unrealistic_picture_among_many_takes_the_word_from_all():
    card = section()[0]
    assert (
        "For 2 of 2 pictures a change of"
        in lede([card, replace(card, name="b.png", picture="b", realistic=False)]).striptags()
    )


@pytest.mark.parametrize(
    ("realism", "value", "words"),
    [
        (0.984, "0.98", "up to 1 is as realistic"),
        (1.026, "1.03", "a little harder to draw than the input"),
        (16.4, "16", "input's; harder to draw"),
        (float("nan"), "unknown", "divided by the input's"),
    ],
)
def test_realism_is_not_rounded_over_what_its_words_say(realism, value, words):
    (tile,) = (each for each in tiles(None, make_counterfactual(realism=realism), None) if each.name == "Realism")
    assert tile.value == value
    assert words in tile.note


def test_explanations_are_counted_if_a_picture_has_several():
    folders = [
        drawn(Explained("a", f"{folder}/a.png", None, make_counterfactual()))[0] for folder in ("ours", "pixels")
    ]
    assert title(folders) == "2 explanations, some of the same picture"
    assert "For 2 of 2 explanations" in lede(folders).striptags()
    other = make_counterfactual(original=torch.full((1, 4, 6), 0.25))
    folders[1] = drawn(Explained("a", "pixels/a.png", None, other))[0]
    assert title(folders) == "Why 2 pictures were decided as they were"


def test_a_map_without_signal_shows_no_scale_no_spot_and_no_split():
    silent = make_attribution(status="no_signal", values=torch.full((1, 4, 6), 4.6e-14))
    card, html = drawn(Explained("a", "a.png", silent))
    assert "Every question got the same answer, so there is no map." in html
    assert all(word not in html for word in ("Orange", "speaks for", "too few queries", "Significant pixels", "stage"))
    assert len(card.thumbnails) == 1


def test_a_search_without_signal_tells_no_change():
    html = drawn(Explained("a", "a.png", None, make_counterfactual(status="no_signal")))[1]
    assert "no direction could be found" in html
    assert "raise the noise level of the search (search.strength)" in html
    assert all(word not in html for word in ("The odds of", "was added", "Best found", "Size of", '"changeSize"'))


def test_nouns_that_end_in_s_have_a_plural():
    assert [counted(2, noun) for noun in ("class", "query", "picture")] == ["2 classes", "2 queries", "2 pictures"]


def test_a_change_without_signal_has_no_figures_and_no_second_picture():
    result = make_counterfactual(status="no_signal", decision=0)
    shown = Explained("a", "a.png", None, result)
    card, html = drawn(shown)
    assert (card.became, card.change, len(card.thumbnails)) == ("", None, 1)
    assert all(row.after is None for row in shown.answers.rows)
    assert {tile.name for tile in tiles(None, result, None)} == {"Asked", "Took", "Status"}
    assert "before, then" not in html


def test_a_step_decided_as_wanted_is_not_denied_where_the_answer_is_not():
    rows = torch.tensor([[0.4, 0.6], [0.6, 0.4]]).log()
    answers = {"path_log_probabilities": rows, "log_probabilities": rows[1], "original_log_probabilities": rows[1]}
    card, html = section(status="not_flipped", decision=0, steps=2, **answers)
    assert "is decided dog, but the best found is not" in html
    assert "The best picture found is not decided <b>dog</b>. It is shown." in html
    assert "the search ended with a change" in lede([card])
    assert "picture was found" not in html


@pytest.mark.parametrize(("classes", "told"), [(13, "1 more class is not"), (1000, "988 more classes are not")])
def test_unlikely_classes_are_not_said_to_be_all_that_is_left_out(classes, told):
    """The target is shown however unlikely it is, so what is left out may be likelier."""
    scores = torch.linspace(0, -5, classes).log_softmax(dim=0)
    result = make_attribution(log_probabilities=scores, target=classes - 1, record={"scores": "logits", "settings": {}})
    assert f"{told} shown; the most likely are, and the target." in drawn(Explained("a", "a.png", result))[1]
