"""The page of results: what it says, what it escapes, how large it is. `test_page_browser.py` opens it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from explanations import make_attribution, make_counterfactual

from freemcg.messages.errors import InvalidValue
from freemcg.show.page import gallery
from freemcg.show.page.answers import answers
from freemcg.show.page.certainty import forecasts, tiles
from freemcg.show.page.change import change, changed_words, shown_path
from freemcg.show.page.explained import Explained
from freemcg.show.page.explanation import drawn
from freemcg.show.page.gallery import BESIDE, PAGE, Source, lede, title, write_gallery
from freemcg.show.page.look import layer

AGED = {"class_names": ["age as before", "age 40"], "value before": 31.0, "value": 39.5, "scores": "value"}
EVIL = "</script><img src=x onerror=alert(1)>'\"&"


def source(explained, stamp="1"):
    return Source(explained.name, stamp, lambda: explained)


def both(name="a.png", anchor="a", **changes):
    counterfactual = make_counterfactual(**changes)
    return Explained(anchor, name, make_attribution(), counterfactual)


def text(html):
    """What a reader sees of HTML, with single spaces."""
    shown = re.sub(r"<(script|template|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", shown).split())


def large(side=512, channels=3, **changes):
    """A colour photograph of noise, the worst case for its size, with a map and a counterfactual of 25 steps."""
    random = torch.Generator().manual_seed(0)
    image = torch.rand(channels, side, side, generator=random)
    image = torch.nn.functional.avg_pool2d(image[None], 9, 1, 4)[0]
    noise = torch.randn(channels, side, side, generator=random)
    attribution = make_attribution(values=noise, standard_error=noise.abs() + 0.1, image=image)
    path = image + 0.1 * torch.randn(25, channels, side, side, generator=random)
    counterfactual = make_counterfactual(original=image, image=path[-1].clamp(0, 1), path=path.clamp(0, 1))
    return Explained("photo", "photo.jpg", attribution, counterfactual, **changes)


def test_the_map_says_where_its_strongest_spot_is_and_what_lighter_does_there():
    shown = layer(make_attribution())
    said = shown.said.striptags()
    assert said == (
        "Most of all, the classifier minds the spot above and left of the centre (A): lighter here speaks against owl. "
        "Of 24 pixels, 2 can be told from zero."
    )
    assert [spot["letter"] for spot in shown.spots] == ["A", "B"]
    assert [spot["value"] for spot in shown.spots] == ["\N{MINUS SIGN}2.00 ± 0.59", "+1.00 ± 0.59"]
    ends = [50 - 50 * value / 2.588 / 1.04 for value in (2.588, 2, 1.412)]
    assert shown.spots[0]["whisker"] == pytest.approx(ends)
    assert shown.significant == 2


def test_what_is_significant_is_what_the_result_says():
    result = make_attribution()
    assert layer(result).significant == int(result.significant().sum())


def test_a_contribution_and_a_value_have_their_own_words():
    added = layer(make_attribution(baseline=torch.zeros(1, 4, 6)))
    assert (added.kind, added.unit) == ("contribution", "log-odds")
    assert "Most of the decision rests on the spot" in added.said
    record = {"scores": "value", "settings": {}, "class_names": ["age", "size", "weight"]}
    assert layer(make_attribution(record=record)).towards == "lighter here raises weight"
    assert (
        layer(make_attribution(record=record, log_probabilities=torch.tensor([3.0]))).towards
        == "lighter here raises the answer"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "no_signal", "values": torch.zeros(1, 4, 6)}, "Every question got the same answer"),
        ({"standard_error": torch.full((1, 4, 6), math.inf)}, "No error bars are known"),
        ({"standard_error": torch.full((1, 4, 6), 9.0)}, "all of it could be chance"),
    ],
)
def test_a_map_without_a_sure_place_says_so_and_the_page_is_made(changes, words):
    result = make_attribution(**changes)
    assert words in layer(result).said
    card, html = drawn(Explained("a", "a.png", result))
    assert words in html
    assert card.reliability in (None, 0.0)
    assert "NaN" not in html
    assert "Infinity" not in html


def test_answers_lie_on_a_scale_of_factors():
    before, after = torch.tensor([1.0, 1e-6, 1e-20]).log(), torch.tensor([1e-3, 1.0, 1e-12]).log()
    found = answers({"scores": "logits", "class_names": ["cat", "dog", "owl"]}, before, after, [0, 1])
    assert [row.left for row in found.rows] == pytest.approx([100, 50, 0], abs=1e-4)
    assert [row.right for row in found.rows] == pytest.approx([75, 100, 0], abs=1e-4)
    assert [row.before for row in found.rows] == ["over 99.99 %", "1 in 1 million", "1 in 10^19"]
    assert [row.marked for row in found.rows] == [True, True, False]


def test_of_a_thousand_classes_the_likely_ones_and_the_target_are_shown():
    before = torch.linspace(0, -30, 1000).log_softmax(dim=0)
    found = answers({"scores": "probabilities"}, before, before.flip(0), [0, 777])
    assert len(found.rows) == 12
    assert found.unshown == 988
    names = [row.name for row in found.rows]
    assert {"0", "1", "999", "998", "777"} <= set(names)
    assert names == sorted(names, key=int)


def test_other_kinds_of_answer():
    labels = answers({"scores": "multi_label"}, torch.tensor([0.9, 0.25]).log(), None, [0])
    assert [(row.left, row.right) for row in labels.rows] == [(pytest.approx(90), None), (pytest.approx(25), None)]
    values = answers({"scores": "value"}, torch.tensor([31.25, -2.0]), None, [0])
    assert [row.before for row in values.rows] == ["31.25", "\N{MINUS SIGN}2"]
    assert answers({"scores": "label"}, torch.zeros(3), None, [0]).rows == []
    assert answers({"scores": "value", "value": 3.0}, torch.zeros(2), None, [0]).rows == []


def test_the_change_is_told_in_words_and_odds():
    shown = change(make_counterfactual())
    assert shown.said.striptags() == "The nearest realistic picture found that is decided dog."
    assert shown.odds.striptags() == "The odds of dog against cat went from 1 to 2 to 8 to 1."
    assert (
        shown.changed
        == "Light was added most of all above and left of the centre and removed most of all at the bottom right."
    )
    assert (shown.before, shown.after, shown.amount) == (
        "decided cat, 60 %",
        "decided dog, 80 %",
        "2.5 % of full brightness",
    )


def test_a_difference_on_one_side_only_is_told():
    difference = torch.zeros(9, 9)
    assert changed_words(difference) == "Nothing was changed."
    difference[0, 8] = -0.5
    assert changed_words(difference) == "Light was removed most of all at the top right."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "not_flipped", "decision": 0}, "The best picture found is not decided dog"),
        ({"status": "already_target", "original_decision": 1}, "is decided dog already"),
        ({"status": "no_signal"}, "no direction could be found"),
        ({"record": AGED, "log_probabilities": torch.zeros(2), "original_log_probabilities": torch.zeros(2)}, "was 31"),
    ],
)
def test_each_end_of_a_search_has_its_sentence(changes, words):
    result = make_counterfactual(**changes)
    assert words in text(change(result).said).replace(" .", ".")
    assert words in text(drawn(Explained("a", "a.png", None, result))[1])


def test_the_path_begins_with_the_input_and_ends_with_the_answer():
    result = make_counterfactual(steps=24)
    path = shown_path(result)
    assert len(path) == 26
    torch.testing.assert_close(path[0], result.original)
    torch.testing.assert_close(path[-1], result.image)
    same = replace(result, path=torch.stack([result.original, result.image]))
    assert len(shown_path(same)) == 3
    unchanged = replace(result, image=result.original)
    assert len(shown_path(unchanged)) == 2
    assert change(unchanged).frames == []


def test_many_steps_are_thinned_out_and_those_of_photographs_more():
    assert len(shown_path(make_counterfactual(steps=100))) == 26
    assert len(shown_path(large().counterfactual)) == 9


def test_error_shares_and_forecasts_are_those_of_the_result():
    parts = {"sampling": 0.25, "residual": 0.75, "misfit": math.inf, "asked": 15}
    result = make_attribution(error_parts=parts)
    assert result.error_shares == pytest.approx((0.25, 0.75))
    result = make_attribution(standard_error=torch.full((1, 4, 6), 0.2), error_parts={**parts, "sampling": 0.01})
    told = forecasts(result)
    assert told[0] == f"Reliability 0.9: {result.queries_for(0.9):,} queries for the map, instead of 31."
    assert forecasts(make_attribution()) == ["This map gives no forecast. Ask more queries, then it does."]


def test_the_tiles_add_up_and_name_the_judge():
    judged = make_counterfactual(record={"class_names": ["cat", "dog", "owl"], "judge": 2})
    found = {tile.name: tile for tile in tiles(make_attribution(), judged, 2)}
    assert (found["Asked"].value, found["Asked"].note) == ("136 queries", "31 for the map, 105 for the counterfactual")
    assert found["Took"].value == "5.5 s"
    assert found["Independent judge"].value == "disagrees"
    assert found["Status of the map"].value == "budget ended"


@pytest.mark.parametrize(
    ("changes", "said"),
    [(True, "; this alone changes the decision: do not trust this"), (False, "; same decision"), (None, "the picture")],
)
def test_what_the_autoencoder_loses_has_a_tile(changes, said):
    lost = {"l1": 0.031} if changes is None else {"l1": 0.031, "changes_decision": changes}
    both = make_attribution(record={"autoencoder": lost}), make_counterfactual(record={"autoencoder": lost})
    for given in (both, (both[0], None), (None, both[1])):
        (tile,) = [each for each in tiles(*given, 2) if each.name == "Lost by the autoencoder"]
        assert tile.value == "3.1 %"
        assert tile.note.endswith(said)
    assert "Lost by the autoencoder" not in [each.name for each in tiles(make_attribution(), None, 2)]


def test_names_are_escaped_wherever_they_stand(tmp_path):
    record = {"class_names": [EVIL, f"{EVIL} dog", "owl"], "settings": {"objective": "log_odds"}, "denoiser": EVIL}
    explained = Explained("a", EVIL, make_attribution(record=record), make_counterfactual(record=record))
    other = Explained("b", "b.png", make_attribution(record=record, target=0), make_counterfactual(record=record))
    page = write_gallery([source(explained), source(other)], tmp_path).read_text()
    assert "<img src=x" not in page
    assert page.count("</script>") == 4  # of two explanations, of the gallery, and of the program itself
    assert "&lt;/script&gt;" in page
    assert "\\u003c/script\\u003e" in page


def test_the_page_asks_for_nothing(tmp_path):
    page = write_gallery([source(both())], tmp_path).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    allowed = r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]+'"
    assert re.fullmatch(allowed, policy)
    assert set(re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)) == set()
    assert "url(" not in page
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", page)


def test_one_photograph_of_512_pixels_takes_less_than_two_megabytes(tmp_path):
    assert write_gallery([source(large())], tmp_path).stat().st_size < 2_000_000
    assert not (tmp_path / BESIDE).exists()


def test_a_thousand_images_leave_the_first_page_small_and_lie_beside_it(tmp_path, monkeypatch):
    card, html = drawn(both())
    photo = "x" * 1600  # a small picture of a photograph, as base64
    calls = []

    def quick(explained):
        calls.append(explained.name)
        return replace(card, anchor=explained.anchor, name=explained.name, thumbnails=[photo, photo]), html

    monkeypatch.setattr(gallery, "drawn", quick)
    sources = [source(Explained(f"a{number}", f"a{number}.png")) for number in range(1000)]
    page = write_gallery(sources, tmp_path)
    assert page.stat().st_size < 3_000_000
    pictures = sorted((tmp_path / BESIDE).glob("pictures-*.js"))
    others = set((tmp_path / BESIDE).glob("*.js")) - set(pictures)
    inside = page.read_text().count('<template class="explanation"') + 1
    assert len(others) + inside == 1000
    assert len(calls) == 1000
    assert max(path.stat().st_size for path in pictures) < 1_000_000
    calls.clear()
    write_gallery(sources, tmp_path)
    assert len(calls) == inside  # those in files are kept
    calls.clear()
    sources[999] = source(Explained("a999", "a999.png"), stamp="2")
    write_gallery(sources[:1] + sources[-200:], tmp_path)
    assert "a999.png" in calls
    assert len(set((tmp_path / BESIDE).glob("*.js"))) < 210  # those of other images are gone


def test_an_image_that_cannot_be_drawn_is_left_out_and_named(tmp_path, capsys):
    broken = Source("b.png", "1", lambda: (_ for _ in ()).throw(InvalidValue("it was damaged")))
    page = write_gallery([broken, source(both())], tmp_path)
    assert capsys.readouterr().err == "b.png: the page leaves it out (it was damaged); its results are kept\n"
    assert "a.png" in page.read_text()
    assert write_gallery([broken], tmp_path) is None


def test_the_title_and_the_finding_count_over_all_images():
    card = drawn(both())[0]
    other = replace(card, name="b.png", picture="b", flipped=False, change=0.5, queries=64, agreed=False)
    assert title([card]) == "Why a.png was decided as it was"
    assert title([card, other]) == "Why 2 pictures were decided as they were"
    assert lede([replace(card, agreed=True), other]).striptags() == (
        "A classifier was asked 200 times, never opened. For 1 of 2 pictures a realistic change of at most 2.5 % of "
        "full brightness made it decide otherwise, and an independent judge agreed each time. "
        "2 explanations are not complete."
    )
    alone = drawn(Explained("a", "a.png", make_attribution(status="complete")))[0]
    assert "The map's reliability is 0.59; 1 is the most." in lede([alone]).striptags()


def test_numbers_of_the_script_are_json_without_infinities():
    html = drawn(Explained("a", "a.png", make_attribution(standard_error=torch.full((1, 4, 6), math.inf))))[1]
    numbers = json.loads(re.search(r'class="numbers">(.*?)</script>', html)[1], parse_constant=pytest.fail)
    assert numbers["size"] == [6, 4]
    assert numbers["layers"]["map"]["top"] == 2.0
    assert numbers["layers"]["map"]["errorTop"] == 0.0
    assert PAGE == "report.html"


def test_how_it_was_made_tells_what_trimming_kept():
    shown = text(drawn(both(record={"trimmed": {"kept": 31, "regions": 64}}))[1])
    assert "Kept of the change 31 of 64 regions" in shown
    assert "Kept of the change" not in text(drawn(both())[1])


def test_how_it_was_made_tells_the_settings_of_the_search_that_was_made():
    """A map also records what nobody named of a search, but no search was made with that."""
    of_map = make_attribution(record={"settings": {"seed": 3, "search": {"queries": 50}}})
    of_search = make_counterfactual(record={"settings": {"seed": 3, "search": {"queries": 800}}})
    shown = text(drawn(Explained("a", "a.png", of_map, of_search))[1])
    assert "Settings of the map seed 3" in shown
    assert "Settings of the search queries 800, seed 3" in shown
    assert "Settings of the map" not in text(drawn(Explained("a", "a.png", None, of_search))[1])
    assert "Settings of the search" not in text(drawn(Explained("a", "a.png", of_map))[1])
