"""The only access to the explained classifier: it takes images, returns log-probabilities and counts every image."""

from freemcg.blackbox.asking import QueryBudgetExceeded
from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.cache import QueryCache
from freemcg.blackbox.local.huggingface import load_huggingface
from freemcg.blackbox.local.onnx import load_onnx
from freemcg.blackbox.preparation import check_images
from freemcg.blackbox.receipt import Receipt
from freemcg.blackbox.remote.endpoint import EndpointDescription, endpoint_black_box
from freemcg.blackbox.remote.inference_protocol import inference_black_box
from freemcg.blackbox.remote.transport import RemoteError
from freemcg.blackbox.scores import SCORE_KINDS

__all__ = [
    "SCORE_KINDS",
    "BlackBox",
    "EndpointDescription",
    "QueryBudgetExceeded",
    "QueryCache",
    "Receipt",
    "RemoteError",
    "check_images",
    "endpoint_black_box",
    "inference_black_box",
    "load_huggingface",
    "load_onnx",
]
