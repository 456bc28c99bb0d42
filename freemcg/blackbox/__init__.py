"""The one door to the classifier under explanation: images in, log-probabilities out, every image counted."""

from freemcg.blackbox.box import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.cache import QueryCache
from freemcg.blackbox.endpoint import EndpointDescription, endpoint_black_box
from freemcg.blackbox.huggingface import load_huggingface
from freemcg.blackbox.inference_protocol import inference_black_box
from freemcg.blackbox.onnx import load_onnx
from freemcg.blackbox.preparation import check_images
from freemcg.blackbox.receipt import Receipt
from freemcg.blackbox.scores import SCORE_KINDS
from freemcg.blackbox.transport import RemoteError

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
