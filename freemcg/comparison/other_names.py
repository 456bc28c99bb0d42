"""The names that methods have in other packages, such as Captum, and the nearest method here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from freemcg.messages.errors import InvalidValue

ELSEWHERE = {
    "gradient": ("saliency", "vanillagradient", "vanillagradients", "guidedbackprop", "guidedbackpropagation"),
    "integrated_gradients": ("ig", "deeplift"),
    "expected_gradients": ("gradientshap", "deepliftshap"),
    "smooth_grad": ("noisetunnel",),
    "grad_cam": ("gradcam", "layergradcam", "guidedgradcam", "gradcamplusplus", "scorecam"),
    "kernel_shap": ("shap", "shapley", "shapleyvalues", "shapleyvaluesampling"),
    "occlusion": ("featureablation",),
}
"""The same method elsewhere, or one that asks the same, in small letters without anything between."""


def unknown_method(name: str, known: Sequence[str]) -> InvalidValue:
    """The error to raise, such as `there is no method 'saliency'; did you mean 'gradient'?`."""
    from baselines.names import unknown  # noqa: PLC0415  (only a comparison needs the baselines)

    plain = _plain(name)
    for here in known:
        if plain == _plain(here) or plain in ELSEWHERE.get(here, ()):
            return InvalidValue(f"there is no method {name!r}; did you mean {here!r}?")
    return unknown("method", name, known)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
