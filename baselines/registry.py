"""Every method by its name."""

from __future__ import annotations

import inspect
from typing import Any

from baselines.adversarial import Adversarial
from baselines.adversarial_gradient_integration import AdversarialGradientIntegration
from baselines.blur_ig import BlurIG
from baselines.counterfactual_method import CounterfactualMethod
from baselines.diffusion_guided import DiffusionGuided
from baselines.dvce import DVCE
from baselines.expected_gradients import ExpectedGradients
from baselines.geex import GEEX
from baselines.ggig import GeometricallyGuidedIG
from baselines.grad_cam import GradCAM
from baselines.gradient import Gradient, InputXGradient
from baselines.guided_ig import GuidedIG
from baselines.hsic import HSIC
from baselines.idgi import IDGI
from baselines.ig2 import IG2
from baselines.integrated_decision_gradients import IntegratedDecisionGradients
from baselines.integrated_gradients import IntegratedGradients
from baselines.kernel_shap import KernelSHAP
from baselines.leverage_shap import LeverageSHAP
from baselines.lime import LIME
from baselines.manifold_ig import ManifoldIG
from baselines.names import unknown
from baselines.nearest_image import NearestImage
from baselines.occlusion import Occlusion
from baselines.pixel_search import PixelSearch
from baselines.rise import RISE
from baselines.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from baselines.sobol import Sobol
from baselines.tangentially_aligned_ig import TangentiallyAlignedIG
from baselines.xrai import XRAI
from baselines.zeroth_order import ZerothOrder
from freemcg.messages.errors import InvalidValue

METHODS: dict[str, type[Any]] = {
    "gradient": Gradient,
    "input_x_gradient": InputXGradient,
    "smooth_grad": SmoothGrad,
    "smooth_grad_squared": SmoothGradSquared,
    "var_grad": VarGrad,
    "integrated_gradients": IntegratedGradients,
    "expected_gradients": ExpectedGradients,
    "blur_ig": BlurIG,
    "guided_ig": GuidedIG,
    "manifold_ig": ManifoldIG,
    "tangentially_aligned_ig": TangentiallyAlignedIG,
    "geometrically_guided_ig": GeometricallyGuidedIG,
    "idgi": IDGI,
    "integrated_decision_gradients": IntegratedDecisionGradients,
    "adversarial_gradient_integration": AdversarialGradientIntegration,
    "ig2": IG2,
    "grad_cam": GradCAM,
    "xrai": XRAI,
    "zeroth_order": ZerothOrder,
    "geex": GEEX,
    "rise": RISE,
    "sobol": Sobol,
    "hsic": HSIC,
    "occlusion": Occlusion,
    "kernel_shap": KernelSHAP,
    "leverage_shap": LeverageSHAP,
    "lime": LIME,
}
SEARCHES: dict[str, type[CounterfactualMethod]] = {
    "pixel_search": PixelSearch,
    "nearest_image": NearestImage,
    "adversarial": Adversarial,
    "diffusion_guided": DiffusionGuided,
    "dvce": DVCE,
}
"""The searches for counterfactuals."""


def available() -> tuple[str, ...]:
    """The names of all attribution methods.

    The class `METHODS[name]` says whether the method `needs_weights` or `needs_manifold`, and what its `cost` is.
    """
    return tuple(METHODS)


def settings_within(name: str, cost: int) -> dict[str, Any]:
    """Settings for `create(name, ...)` with which one image and a given target cost at most `cost`.

    The unit is gradients if the method needs weights, and queries otherwise. A method without a number of samples or
    steps, such as `gradient`, has a fixed cost and gets no settings.

    Raises:
        ValueError: there is no such method, or the cost is too small for it.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    method = METHODS[name]
    if cost < method.least:
        unit = "gradients" if method.needs_weights else "queries"
        raise InvalidValue(f"{name} needs at least {method.least} {unit}, got {cost}")
    settings: dict[str, Any] = method.within(cost)
    return settings


def create(name: str, model: Any, **settings: Any) -> Any:
    """A method by its name, such as `create("guided_ig", model, steps=50)`.

    Args:
        name: one of `available()`.
        model: a `torch.nn.Module` if the method needs weights, else a black box.
        settings: the keyword arguments of the method's constructor.

    Raises:
        ValueError: there is no such method, it has no such setting, or a setting that it needs is missing.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    _, *known = inspect.signature(METHODS[name]).parameters.values()  # the first is the model
    names = [parameter.name for parameter in known]
    for setting in settings:
        if setting not in names:
            raise unknown(f"{name} setting", setting, names)
    for parameter in known:
        if parameter.default is parameter.empty and parameter.name not in settings:
            raise InvalidValue(f"{name} needs the setting {parameter.name!r}; see {METHODS[name].__name__}")
    return METHODS[name](model, **settings)
