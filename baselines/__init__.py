"""Methods that FreeMCG is compared with: one method, one file, one call.

White-box methods take a `torch.nn.Module` and read its gradients: `Gradient(model).attribute(images, target)`.
`available()` lists all by name, and `create("guided_ig", model, steps=50)` makes one.
"""

from baselines.adversarial_gradient_integration import AdversarialGradientIntegration
from baselines.blur_ig import BlurIG
from baselines.expected_gradients import ExpectedGradients
from baselines.gradient import Gradient, InputXGradient
from baselines.guided_ig import GuidedIG
from baselines.idgi import IDGI
from baselines.integrated_decision_gradients import IntegratedDecisionGradients
from baselines.integrated_gradients import IntegratedGradients
from baselines.manifold_ig import ManifoldAttribution, ManifoldIG
from baselines.path_method import PathAttribution, PathMethod
from baselines.registry import METHODS, available, create
from baselines.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from baselines.tangentially_aligned_ig import AlignedAttribution, TangentiallyAlignedIG
from baselines.whitebox import WhiteBoxMethod

__all__ = [
    "IDGI",
    "METHODS",
    "AdversarialGradientIntegration",
    "AlignedAttribution",
    "BlurIG",
    "ExpectedGradients",
    "Gradient",
    "GuidedIG",
    "InputXGradient",
    "IntegratedDecisionGradients",
    "IntegratedGradients",
    "ManifoldAttribution",
    "ManifoldIG",
    "PathAttribution",
    "PathMethod",
    "SmoothGrad",
    "SmoothGradSquared",
    "TangentiallyAlignedIG",
    "VarGrad",
    "WhiteBoxMethod",
    "available",
    "create",
]
