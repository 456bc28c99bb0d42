"""Methods that FreeMCG is compared with: one method, one file, one call.

White-box methods take a `torch.nn.Module` and read its gradients: `Gradient(model).attribute(images, target)`.
Black-box methods take the same `BlackBox` as `FreeMCG`, so queries are counted alike: `RISE(black_box, queries=1000)`.
`counterfactual(image, target)` of `DiffusionGuided`, `DVCE`, `Adversarial`, `PixelSearch` and `NearestImage` finds
another one.
`available()` lists the attribution methods by name, and `create("guided_ig", model, steps=50)` makes one.
"""

from baselines.adversarial import Adversarial
from baselines.adversarial_gradient_integration import AdversarialGradientIntegration
from baselines.blur_ig import BlurIG
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
from baselines.manifold_ig import ManifoldAttribution, ManifoldIG
from baselines.nearest_image import NearestImage
from baselines.occlusion import Occlusion
from baselines.path_method import PathAttribution, PathMethod
from baselines.pixel_search import PixelSearch
from baselines.registry import METHODS, available, create, settings_within
from baselines.rise import RISE
from baselines.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from baselines.sobol import Sobol
from baselines.tangentially_aligned_ig import AlignedAttribution, TangentiallyAlignedIG
from baselines.whitebox import WhiteBoxMethod
from baselines.xrai import XRAI
from baselines.zeroth_order import ZerothOrder

__all__ = [
    "DVCE",
    "GEEX",
    "HSIC",
    "IDGI",
    "IG2",
    "LIME",
    "METHODS",
    "RISE",
    "XRAI",
    "Adversarial",
    "AdversarialGradientIntegration",
    "AlignedAttribution",
    "BlurIG",
    "DiffusionGuided",
    "ExpectedGradients",
    "GeometricallyGuidedIG",
    "GradCAM",
    "Gradient",
    "GuidedIG",
    "InputXGradient",
    "IntegratedDecisionGradients",
    "IntegratedGradients",
    "KernelSHAP",
    "LeverageSHAP",
    "ManifoldAttribution",
    "ManifoldIG",
    "NearestImage",
    "Occlusion",
    "PathAttribution",
    "PathMethod",
    "PixelSearch",
    "SmoothGrad",
    "SmoothGradSquared",
    "Sobol",
    "TangentiallyAlignedIG",
    "VarGrad",
    "WhiteBoxMethod",
    "ZerothOrder",
    "available",
    "create",
    "settings_within",
]
