"""The results of explanations. They are frozen. They can be saved, loaded without any model, and drawn.

A result is one `.safetensors` file. It holds the tensors, and everything else as JSON in its header under `"result"`.
It is written whole or not at all.
"""

from freemcg.results.attribution import Attribution
from freemcg.results.counterfactual import Counterfactual
from freemcg.results.load import Explanation, load_result, load_with_digests
from freemcg.results.status import Status
from freemcg.results.stored import Stored

__all__ = [
    "Attribution",
    "Counterfactual",
    "Explanation",
    "Status",
    "Stored",
    "load_result",
    "load_with_digests",
]
