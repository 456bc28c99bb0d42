"""ONNX files as black boxes, run by onnxruntime. Layout, datatype, size and batch are read from the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.scores import MULTI_LABEL, ONE_NUMBER, VALUE
from freemcg.messages.errors import InvalidValue, require

DATATYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
LAYOUTS = ("NCHW", "NHWC")
ONE_COLUMN = (
    "say scores='binary' for the probability of the positive class of two, 'binary_logit' for its logit, or 'value' "
    "for a number that means itself"
)
SCORES_OF_LAST_NODE = {
    "Softmax": "probabilities",
    "LogSoftmax": "log_probabilities",
    "Sigmoid": "multi_label",
    "ArgMax": "label",
    **dict.fromkeys(("Add", "Conv", "Gemm", "GlobalAveragePool", "MatMul"), "logits"),
}
CHANGES_NO_SCORE = ("Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze")


class OnnxModel:
    """An ONNX file run through one onnxruntime session. It maps images `(N, C, H, W)` in [0, 1] to an array.

    Attributes:
        identity: the file's name, and a digest of its bytes, the chosen output and the layout.
        layout: `"NCHW"` or `"NHWC"`.
        channels, size: the channels and size that images must have. `size` is `(H, W)`, or `None` if any will do.
        batch: the images in one run; `None` if the file takes any number. A smaller run is filled up with copies of the
            last image, whose answers are dropped.
        answer: the shape of the output, as the file states it.
    """

    def __init__(self, path: Path, session: Any, *, output: str | None, layout: str | None) -> None:
        self.path, self.session = path, session
        inputs, outputs = session.get_inputs(), {each.name: each for each in session.get_outputs()}
        if len(inputs) != 1:
            raise InvalidValue(f"{path} takes {len(inputs)} inputs ({_names(inputs)}); it must take images alone")
        if output is None and len(outputs) > 1:
            raise InvalidValue(
                f"{path} has {len(outputs)} outputs; say which with output= or --output: {', '.join(outputs)}"
            )
        if output is not None and output not in outputs:
            raise InvalidValue(f"{path} has no output {output!r}; it has {', '.join(outputs)}")
        self.input, self.output = inputs[0].name, output or next(iter(outputs))
        if inputs[0].type not in DATATYPES:
            kinds = ", ".join(DATATYPES)
            raise InvalidValue(f"{path} takes images as {inputs[0].type}; it must take one of {kinds}")
        self.datatype = DATATYPES[inputs[0].type]
        shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        self.layout = _layout(path, shape, layout)
        self.batch = shape[0]
        self.channels, height, width = shape[1:] if self.layout == "NCHW" else (shape[3], *shape[1:3])
        self.size = None if height is None or width is None else (height, width)
        self.answer = outputs[self.output].shape
        digest = hashlib.blake2b(path.read_bytes(), digest_size=8)
        digest.update(f"{self.output} {self.layout}".encode())
        self.identity = f"{path.name}:{digest.hexdigest()}"

    def __call__(self, images: Tensor) -> np.ndarray:
        """The scores that the file answers, `(N, ...)`.

        Raises:
            ValueError: onnxruntime refuses the images. The message says why.
        """
        array = images.numpy(force=True)
        array = (array * 255).round().astype(np.uint8) if self.datatype is np.uint8 else array.astype(self.datatype)
        array = array if self.layout == "NCHW" else array.transpose(0, 2, 3, 1)
        batch = self.batch or len(array)
        answers = [self._run(array[start : start + batch], batch) for start in range(0, len(array), batch)]
        return np.concatenate(answers)

    def _run(self, array: np.ndarray, batch: int) -> np.ndarray:
        full = np.concatenate([array, array[-1:].repeat(batch - len(array), axis=0)])
        try:
            (answer,) = self.session.run([self.output], {self.input: full})
        except Exception as error:  # onnxruntime's own errors share no other base class
            shape = "x".join(str(side) for side in full.shape)
            raise InvalidValue(f"{self.path} refused images of shape {shape}: {str(error).splitlines()[0]}") from error
        if np.ndim(answer) == 0 or len(answer) != batch:
            raise InvalidValue(
                f"{self.path} answered shape {np.shape(answer)} for {batch} images; it must be ({batch}, classes)"
            )
        return np.asarray(answer)[: len(array)]


def load_onnx(
    path: str | Path,
    scores: str | None = None,
    *,
    layout: str | None = None,
    output: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    batch_size: int = 64,
    budget: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> BlackBox:
    """Make a black box of an ONNX file. This costs no query.

    A file does not say what its numbers mean. Pixels of a float input are in [0, 1]. `mean` and `std` shift and scale
    them (for 0..255, `mean=[0, 0, 0], std=[1 / 255] * 3`). Pixels of a uint8 input are 0..255, rounded. The file
    runs on CUDA if this onnxruntime can, else on the CPU.

    Args:
        path: the ONNX file.
        scores: the kind of its answer, as `BlackBox` takes it. `None` reads it from the node that makes the output. A
            softmax, log-softmax or arg-max (labels) tells it, as does a sigmoid (independent labels, or `binary` for a
            single one) or a linear layer (logits).
        layout: `"NCHW"` or `"NHWC"`. `None` reads it from the place of the channels, 1 or 3, in the input's shape.
        output: the name of the output that holds the scores, if there are several.
        image_size, mean, std, batch_size, budget, num_classes, class_names: as `BlackBox` takes them. Size, batch size
            and number of classes are read from the file if it fixes them.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file of an image classifier, or an argument does not fit it. The message says why.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    graph, session = _read(path)
    model = OnnxModel(path, session, output=output, layout=layout)
    if model.datatype is np.uint8 and (mean is not None or std is not None):
        raise InvalidValue(f"{path} takes 8-bit images, which are not normalised; leave out mean and std")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if None not in (size, model.size) and size != model.size:
        raise InvalidValue(f"{path} takes images of size {model.size}, not {size}; leave out image_size")
    stated = model.answer[1] if len(model.answer) > 1 and set(model.answer[2:]) <= {1} else None
    if scores is None:
        scores = _scores(path, graph, model.output)
        scores = "binary" if scores == "multi_label" and stated == 1 else scores
    if scores not in ONE_NUMBER:
        if stated == 1 and scores not in (*MULTI_LABEL, VALUE):
            raise InvalidValue(f"{path} answers one column of scores; {ONE_COLUMN}")
        if isinstance(stated, int) and num_classes is None and class_names is None:
            num_classes = stated
    return BlackBox(
        model,
        scores,
        image_size=model.size or size,
        channels=model.channels,
        mean=mean,
        std=std,
        batch_size=batch_size,
        budget=budget,
        num_classes=num_classes,
        class_names=class_names,
    )


def _read(path: Path) -> tuple[Any, Any]:
    """The graph of a file, and a session that runs it."""
    onnx, onnxruntime = (require(name, "ONNX files need", "onnx") for name in ("onnx", "onnxruntime"))
    able = onnxruntime.get_available_providers()
    providers = [each for each in ("CUDAExecutionProvider", "CPUExecutionProvider") if each in able]
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        return graph, onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # protobuf's and onnxruntime's own kinds
        raise InvalidValue(f"{path} cannot be read as an ONNX file: {str(error).splitlines()[0]}") from error


def _layout(path: Path, shape: Sequence[int | None], layout: str | None) -> str:
    if layout not in (None, *LAYOUTS):
        raise InvalidValue(f"layout must be NCHW or NHWC, got {layout!r}")
    if len(shape) != 4:
        raise InvalidValue(f"{path} takes an input of {len(shape)} axes; images are a batch with 4")
    able = [each for each in LAYOUTS if shape[each.index("C")] in (1, 3)]
    if layout is not None and shape[layout.index("C")] in (1, 3, None):
        return layout
    if layout is None and len(able) == 1:
        return able[0]
    stated = ", ".join("?" if side is None else str(side) for side in shape)
    if layout is None and (able or None in (shape[1], shape[3])):
        raise InvalidValue(f"{path} takes images of shape ({stated}); say layout='NCHW' or layout='NHWC' (--layout)")
    raise InvalidValue(
        f"{path} takes images of shape ({stated}), which have no 1 or 3 channels as {layout or 'any layout'}"
    )


def _scores(path: Path, graph: Any, output: str) -> str:
    """The kind of scores in an output, read from the node that makes it. A node that does not tell it is refused."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in CHANGES_NO_SCORE:
        node = makers.get(node.input[0])
    last = "no node" if node is None else node.op_type
    if last not in SCORES_OF_LAST_NODE:
        raise InvalidValue(
            f"{path} ends in {last}, which does not tell the kind of scores; say scores='logits' or another (--scores)"
        )
    return SCORES_OF_LAST_NODE[last]


def _names(values: Sequence[Any]) -> str:
    return ", ".join(value.name for value in values)
