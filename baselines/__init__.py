"""Methods that FreeMCG is compared with: one method, one file, one call.

White-box methods take a `torch.nn.Module` and read its gradients: `Gradient(model).attribute(images, target)`.
"""

from baselines.gradient import Gradient, InputXGradient
from baselines.integrated_gradients import IntegratedGradients

__all__ = ["Gradient", "InputXGradient", "IntegratedGradients"]
