from __future__ import annotations

import numpy as np
import pytest
import torch
from explanations import NAMES, make_attribution, make_counterfactual
from matplotlib.colors import to_hex, to_rgb

from freemcg.show.figures import OPACITY, SILENT, plot_attribution, plot_counterfactual, plot_grid, write_figure
from freemcg.show.significant import significant


def panels(figure):
    """The axes that hold a picture, in order. A colour bar holds none."""
    return [axes for axes in figure.axes if axes.images]


def shown(axes):
    return np.asarray(axes.images[-1].get_array(), dtype=np.float32)


def words(figure):
    titles = [axes.get_title() for axes in figure.axes]
    return " | ".join([figure.get_suptitle(), *titles])


def said(figure):
    """What stands in the place of pictures."""
    return " ".join(" ".join(text.get_text() for axes in figure.axes for text in axes.texts).split())


@pytest.mark.parametrize("channels", [1, 3])
def test_an_attribution_is_drawn_signed_and_symmetric_about_zero(channels):
    result = make_attribution(channels)
    image, overlay, certain, error = panels(plot_attribution(result))
    expected = result.image[0] if channels == 1 else result.image.permute(1, 2, 0)
    np.testing.assert_allclose(shown(image), expected, atol=1e-6)
    np.testing.assert_allclose(shown(overlay), result.values.sum(dim=0), atol=1e-6)
    np.testing.assert_allclose(shown(certain), result.values.sum(dim=0) * significant(result), atol=1e-6)
    np.testing.assert_allclose(shown(error), result.standard_error.sum(dim=0), atol=1e-6)
    assert error.images[-1].get_clim() == pytest.approx((0, 0.3))
    for axes in (overlay, certain):
        assert axes.images[-1].get_clim() == (-2.0, 2.0)
        assert axes.images[-1].get_alpha() == OPACITY
    colours = [to_hex(overlay.images[-1].cmap(overlay.images[-1].norm(value))) for value in (-2, 0, 2)]
    assert colours[::2] == ["#0a3570", "#662800"]
    np.testing.assert_allclose(to_rgb(colours[1]), to_rgb("#f5f3ee"), atol=0.02)


def test_full_lines_go_round_what_is_positive_and_dashed_ones_round_the_rest():
    certain = panels(plot_attribution(make_attribution()))[2]
    plus, minus = certain.collections
    corners = [{tuple(point) for line in each.get_segments() for point in line} for each in (plus, minus)]
    assert corners == [
        {(2.5, 1.5), (3.5, 1.5), (2.5, 2.5), (3.5, 2.5)},
        {(1.5, 0.5), (2.5, 0.5), (1.5, 1.5), (2.5, 1.5)},
    ]
    assert [each.get_linestyle()[0][1] is None for each in (plus, minus)] == [True, False]


def test_a_figure_warns_where_the_autoencoder_alone_changes_the_decision():
    for changes in (True, False):
        told = {"record": {"autoencoder": {"l1": 0.1, "changes_decision": changes}}}
        drawn = (
            plot_attribution(make_attribution(**told)),
            plot_counterfactual(make_counterfactual(**told)),
        )
        for figure in drawn:
            assert figure.get_suptitle().endswith("autoencoder alone changes the decision") is changes


def test_errors_that_are_unknown_are_not_drawn():
    figure = plot_attribution(make_attribution(standard_error=torch.full((1, 4, 6), float("inf"))))
    assert "standard error unknown" in words(figure)
    assert not shown(panels(figure)[2]).any()


def test_significance_adds_up_the_channels_and_doubts_infinite_errors():
    result = make_attribution(3)
    assert significant(result).nonzero().tolist() == [[1, 2], [2, 3]]
    hopeless = make_attribution(3, standard_error=torch.full((3, 4, 6), float("inf")))
    assert not significant(hopeless).any()


def test_the_figure_leaves_out_what_significant_does_not_hold(rng):
    """Many values lie beyond 1.96 standard errors only by chance."""
    values = torch.randn(1, 30, 30, generator=rng)
    values[0, :4] += 5
    result = make_attribution(values=values, standard_error=torch.ones(1, 30, 30), image=torch.rand(1, 30, 30))
    told = result.significant()[0]
    assert told.sum() < (values.abs() >= 1.96).sum()
    certain = shown(panels(plot_attribution(result))[2])
    np.testing.assert_array_equal(certain != 0, told)
    assert "significant (≤ 5 % false)" in words(plot_attribution(result))


def test_the_figure_tests_the_sum_over_channels_that_it_draws():
    """Channels that cancel are left out, even if each of them differs from zero."""
    values = torch.zeros(3, 4, 6)
    values[0, 0, 0], values[1, 0, 0], values[:, 1, 1] = 5.0, -5.0, 1.5
    result = make_attribution(3, values=values, standard_error=torch.full((3, 4, 6), 0.4))
    assert result.significant()[:, 0, 0].tolist() == [True, True, False]
    assert significant(result).nonzero().tolist() == [[1, 1]]


def test_an_attribution_says_what_it_explains_and_what_it_cost():
    assert words(plot_attribution(make_attribution())).startswith(
        "budget exhausted, 31 queries, 1.5 s | decided cat (70 %)"
    )
    assert "for owl" in words(plot_attribution(make_attribution()))
    assert "for 2" in words(plot_attribution(make_attribution(record={"class_names": None})))


def test_a_contribution_is_drawn_as_a_map_and_says_so():
    result = make_attribution(projected_gradient=torch.ones(1, 4, 6), projected_error=torch.full((1, 4, 6), 0.1))
    added = result.contribution(0.5)
    figure = added.plot()
    _, overlay, certain, _ = panels(figure)
    np.testing.assert_allclose(shown(overlay), result.image[0] - 0.5, atol=1e-6)
    assert overlay.images[-1].get_clim() == (-0.5, 0.5)
    assert "for owl: orange, adds to it" in words(figure)
    assert "for owl: orange, lighter helps" in words(plot_attribution(result))
    assert [axes.get_ylabel() for axes in figure.axes if not axes.images] == ["log odds", ""]
    np.testing.assert_array_equal(shown(certain), shown(overlay))  # ten errors each


def test_an_attribution_without_signal_can_be_drawn(tmp_path):
    nothing = torch.full((1, 4, 6), 4.6e-14)
    figure = plot_attribution(make_attribution(values=nothing, standard_error=nothing, status="no_signal"))
    assert said(figure) == SILENT
    assert len(figure.axes) == 2  # the image and the words: no map, no scale
    write_figure(figure, tmp_path / "figure.png")


def test_a_counterfactual_without_signal_is_not_drawn():
    figure = plot_counterfactual(make_counterfactual(status="no_signal"))
    assert said(figure) == SILENT
    assert len(figure.axes) == 2
    assert "no signal, 105 queries" in figure.get_suptitle()


def test_a_counterfactual_says_who_searched_and_how_realistic_it_is():
    result = make_counterfactual(record={"class_names": NAMES, "method": "PixelSearch"}, realism=1.026)
    figure = plot_counterfactual(result)
    assert figure.get_suptitle() == ("wanted dog, searched by PixelSearch: complete, 105 queries, 4.0 s, realism 1.03")
    assert "brightness: orange added, blue removed" in [axes.get_ylabel() for axes in figure.axes]
    assert "searched by" not in plot_counterfactual(make_counterfactual()).get_suptitle()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_counterfactual_is_drawn_beside_the_input_with_the_signed_difference(channels):
    result = make_counterfactual(channels)
    figure = plot_counterfactual(result)
    original, answer, difference, *path = panels(figure)
    assert shown(original).flat[0] == pytest.approx(0.5)
    assert shown(answer)[1, 2].max() == pytest.approx(0.9)
    assert shown(difference)[1, 2] == pytest.approx(0.4)
    assert shown(difference)[3, 5] == pytest.approx(-0.2)
    assert difference.images[-1].get_clim() == pytest.approx((-0.4, 0.4))
    assert "wanted dog: complete, 105 queries, 4.0 s" in words(figure)
    assert "decided cat (60 %) | decided dog (80 %) | difference, 2.5 % in the mean" in words(figure)
    steps = [shown(axes).flat[0] for axes in path]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 1)


def test_a_path_of_one_step_is_drawn_once():
    assert len(panels(plot_counterfactual(make_counterfactual(steps=1)))) == 4


def test_a_contact_sheet_has_a_row_an_image():
    pairs = [
        (make_attribution(), make_counterfactual()),
        (make_attribution(decision=1, values=torch.ones(1, 4, 6)), make_counterfactual(decision=2)),
    ]
    figure = plot_grid(pairs)
    titles = [axes.get_title() for axes in panels(figure)]
    assert titles[:4] == ["decided cat", "what speaks for owl", "decided dog", "change, 2.5 %"]
    assert titles[4:] == ["decided dog", "what speaks for owl", "decided owl", "change, 2.5 %"]
    assert shown(panels(figure)[7])[1, 2] == pytest.approx(0.4)
    assert [panels(figure)[place].images[-1].get_clim() for place in (1, 5)] == [(-2.0, 2.0), (-1.0, 1.0)]
    assert [panels(figure)[place].images[-1].get_clim() for place in (3, 7)] == [pytest.approx((-0.4, 0.4))] * 2
    with pytest.raises(ValueError, match="there is nothing to draw"):
        plot_grid([])


def test_a_contact_sheet_says_its_scales_and_outlines_what_is_significant():
    bold = make_counterfactual(image=torch.full((1, 4, 6), 0.9))
    result = make_attribution()
    figure = plot_grid([(result, make_counterfactual()), (result, bold)])
    told = figure.get_suptitle()
    assert "each on a scale of its own" in told
    assert "the darkest by 40 % of full brightness" in told
    plus, minus = panels(figure)[1].collections
    lone, _ = panels(plot_attribution(result))[2].collections
    assert [len(each.get_segments()) for each in (plus, minus)] == [4, 4]
    np.testing.assert_array_equal(plus.get_segments(), lone.get_segments())


def test_a_contact_sheet_draws_nothing_without_signal():
    white = make_counterfactual(status="no_signal", image=torch.ones(1, 4, 6))
    silent = make_attribution(status="no_signal"), white
    figure = plot_grid([silent, (make_attribution(), make_counterfactual())])
    assert len(panels(figure)) == 1 + 4
    assert said(figure) == f"{SILENT} {SILENT}"
    assert "the darkest by 40 % of full" in figure.get_suptitle()
    plot_grid([silent])


def test_a_figure_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = plot_attribution(make_attribution())
    write_figure(figure, tmp_path / "figure.png")
    before = (tmp_path / "figure.png").read_bytes()
    assert before.startswith(b"\x89PNG")

    def fail(path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        write_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == before


def test_results_draw_themselves():
    assert len(panels(make_attribution().plot())) == 4
    assert len(panels(make_counterfactual(steps=2).plot())) == 5
