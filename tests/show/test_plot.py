from __future__ import annotations

import numpy as np
import pytest
import torch
from explanations import make_attribution, make_counterfactual
from matplotlib.colors import to_rgb

from freemcg.show.figures import FADED, plot_attribution, plot_counterfactual, plot_grid, write_figure
from freemcg.show.significant import significant


def panels(figure):
    """The axes that hold a picture, in order. A colour bar holds none."""
    return [axes for axes in figure.axes if axes.images]


def shown(axes):
    return np.asarray(axes.images[-1].get_array(), dtype=np.float32)


def words(figure):
    titles = [axes.get_title() for axes in figure.axes]
    return " | ".join([figure.get_suptitle(), *titles])


@pytest.mark.parametrize("channels", [1, 3])
def test_an_attribution_is_drawn_signed_and_symmetric_about_zero(channels):
    result = make_attribution(channels)
    image, overlay, certain = panels(plot_attribution(result))
    expected = result.image[0] if channels == 1 else result.image.permute(1, 2, 0)
    np.testing.assert_allclose(shown(image), expected, atol=1e-6)
    for axes in (overlay, certain):
        np.testing.assert_allclose(shown(axes), result.values.sum(dim=0), atol=1e-6)
        assert axes.images[-1].get_clim() == (-2.0, 2.0)
    red, blue = (overlay.images[-1].to_rgba(np.array([value]))[0] for value in (1.9, -1.9))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    np.testing.assert_allclose(overlay.images[-1].to_rgba(np.array([0.0]))[0][:3], to_rgb("white"), atol=0.04)


def test_a_value_is_as_opaque_as_it_is_large_and_faded_where_the_error_covers_it():
    _, overlay, certain = panels(plot_attribution(make_attribution()))
    opacity, faded = overlay.images[-1].get_alpha(), certain.images[-1].get_alpha()
    np.testing.assert_allclose([opacity[0, 0], opacity[1, 2], opacity[2, 3], opacity[3, 3]], [0.25, 1, 0.5, 0])
    np.testing.assert_allclose([faded[0, 0], faded[1, 2], faded[2, 3]], [0.25 * FADED, 1, 0.5], rtol=1e-6)


def test_significance_adds_up_the_channels_and_doubts_infinite_errors():
    result = make_attribution(3)
    assert significant(result).nonzero().tolist() == [[1, 2], [2, 3]]
    hopeless = make_attribution(3, standard_error=torch.full((3, 4, 6), float("inf")))
    assert not significant(hopeless).any()


def test_the_figure_fades_what_significant_does_not_hold(rng):
    """Many values lie beyond 1.96 standard errors only by chance."""
    values = torch.randn(1, 30, 30, generator=rng)
    values[0, :4] += 5
    result = make_attribution(values=values, standard_error=torch.ones(1, 30, 30), image=torch.rand(1, 30, 30))
    told = result.significant()[0]
    assert told.sum() < (values.abs() >= 1.96).sum()
    overlay, certain = [axes.images[-1].get_alpha() for axes in panels(plot_attribution(result))[1:]]
    np.testing.assert_allclose(certain, overlay * np.where(told, 1.0, FADED), rtol=1e-6)
    assert "told from zero (5 % falsely)" in words(plot_attribution(result))


def test_the_figure_tests_the_sum_over_channels_that_it_draws():
    """Channels that cancel are faded, even if each of them differs from zero."""
    values = torch.zeros(3, 4, 6)
    values[0, 0, 0], values[1, 0, 0], values[:, 1, 1] = 5.0, -5.0, 1.5
    result = make_attribution(3, values=values, standard_error=torch.full((3, 4, 6), 0.4))
    assert result.significant()[:, 0, 0].tolist() == [True, True, False]
    assert significant(result).nonzero().tolist() == [[1, 1]]


def test_an_attribution_says_what_it_explains_and_what_it_cost():
    assert words(plot_attribution(make_attribution())).startswith(
        "budget exhausted, 31 queries, 1.5 s | decided cat (p = 0.70)"
    )
    assert "for owl" in words(plot_attribution(make_attribution()))
    assert "for 2" in words(plot_attribution(make_attribution(record={"class_names": None})))


def test_a_contribution_is_drawn_as_a_map_and_says_so():
    result = make_attribution(projected_gradient=torch.ones(1, 4, 6), projected_error=torch.full((1, 4, 6), 0.1))
    added = result.contribution(0.5)
    figure = added.plot()
    _, overlay, certain = panels(figure)
    np.testing.assert_allclose(shown(overlay), result.image[0] - 0.5, atol=1e-6)
    assert overlay.images[-1].get_clim() == (-0.5, 0.5)
    assert "for owl: red, adds to it" in words(figure)
    assert "for owl: red, lighter helps" in words(plot_attribution(result))
    assert [axes.get_ylabel() for axes in figure.axes if not axes.images] == ["log odds"]
    np.testing.assert_array_equal(certain.images[-1].get_alpha(), overlay.images[-1].get_alpha())  # ten errors each


def test_an_attribution_without_signal_can_be_drawn(tmp_path):
    nothing = torch.zeros(1, 4, 6)
    figure = plot_attribution(make_attribution(values=nothing, standard_error=nothing, status="no_signal"))
    assert not panels(figure)[1].images[-1].get_alpha().any()
    write_figure(figure, tmp_path / "figure.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_counterfactual_is_drawn_beside_the_input_with_the_signed_difference(channels):
    result = make_counterfactual(channels)
    figure = plot_counterfactual(result)
    original, answer, difference, *path = panels(figure)
    assert shown(original).flat[0] == pytest.approx(0.5)
    assert shown(answer)[1, 2].max() == pytest.approx(0.9)
    assert shown(difference)[1, 2] == pytest.approx(0.4)
    assert shown(difference)[3, 5] == pytest.approx(-0.2)
    assert difference.images[-1].get_clim() == (-1.0, 1.0)
    assert "wanted dog: complete, 105 queries, 4.0 s" in words(figure)
    assert "decided cat (p = 0.60) | decided dog (p = 0.80) | difference, L1 0.025" in words(figure)
    steps = [shown(axes).flat[0] for axes in path]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 1)


def test_a_path_of_one_step_is_drawn_once():
    assert len(panels(plot_counterfactual(make_counterfactual(steps=1)))) == 4


def test_a_contact_sheet_has_a_row_an_image():
    pairs = [
        (make_attribution(), make_counterfactual()),
        (make_attribution(decision=1), make_counterfactual(decision=2)),
    ]
    figure = plot_grid(pairs)
    titles = [axes.get_title() for axes in panels(figure)]
    assert titles[:4] == ["decided cat", "what speaks for owl", "decided dog", "change, L1 0.025"]
    assert titles[4:] == ["decided dog", "what speaks for owl", "decided owl", "change, L1 0.025"]
    assert shown(panels(figure)[7])[1, 2] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="there is nothing to draw"):
        plot_grid([])


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
    assert len(panels(make_attribution().plot())) == 3
    assert len(panels(make_counterfactual(steps=2).plot())) == 5
