"""A name that a method has elsewhere is refused with the name that it has here."""

from __future__ import annotations

import pytest

import baselines
from freemcg.comparison.other_names import ELSEWHERE, unknown_method
from freemcg.comparison.recipe import OURS

KNOWN = (*OURS, *baselines.available())


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("saliency", "gradient"),
        ("integratedgradients", "integrated_gradients"),
        ("IntegratedGradients", "integrated_gradients"),
        ("gradcam", "grad_cam"),
        ("GradCAM", "grad_cam"),
        ("guided_backprop", "gradient"),
        ("shap", "kernel_shap"),
        ("GradientShap", "expected_gradients"),
        ("ig", "integrated_gradients"),
        ("RISE", "rise"),
        ("guided_gi", "guided_ig"),
    ],
)
def test_another_name_is_answered_by_ours(name, here):
    assert str(unknown_method(name, KNOWN)) == f"there is no method {name!r}; did you mean {here!r}?"


def test_only_methods_that_are_there_are_offered():
    assert set(ELSEWHERE) <= set(KNOWN)
    assert str(unknown_method("saliency", ("rise", "geex"))) == "there is no method 'saliency'; known are rise, geex"
