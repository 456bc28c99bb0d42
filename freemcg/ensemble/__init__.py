"""From particles and scores to a gradient: pure linear algebra on `(M, D)` particles and `(K, S)` scores.

Nothing here knows about images, diffusion models or classifiers, and nothing draws random numbers.

| symbol in the paper | name here | shape |
| --- | --- | --- |
| `xh^k` | `particles[k]` | `(D,)` |
| `y^k` | `scores[k]` | `(S,)` |
| `v` | `weights`: gradient of the objective with respect to the scores | `(S,)` |
| `X`, `Y` | `anomalies(particles).T`, `anomalies(scores).T` | `(D, K)`, `(S, K)` |
| `C_xx = X X^T` | local covariance of the manifold | `(D, D)`, never formed |
"""

from freemcg.ensemble.anomalies import anomalies
from freemcg.ensemble.blocks import Rows
from freemcg.ensemble.control_variate import control_variate
from freemcg.ensemble.cross_covariance import cross_covariance
from freemcg.ensemble.effective_dimension import effective_dimension
from freemcg.ensemble.estimate import ErrorParts, Estimate
from freemcg.ensemble.label_widening import label_widening
from freemcg.ensemble.per_particle import per_particle
from freemcg.ensemble.principal_axes import PrincipalAxes, principal_axes
from freemcg.ensemble.projected_gradient import projected_gradient
from freemcg.ensemble.pushforward import Pushforward
from freemcg.ensemble.regression import regression
from freemcg.ensemble.sigma_points import LinearModel, linear_model, sigma_points

__all__ = [
    "ErrorParts",
    "Estimate",
    "LinearModel",
    "PrincipalAxes",
    "Pushforward",
    "Rows",
    "anomalies",
    "control_variate",
    "cross_covariance",
    "effective_dimension",
    "label_widening",
    "linear_model",
    "per_particle",
    "principal_axes",
    "projected_gradient",
    "regression",
    "sigma_points",
]
