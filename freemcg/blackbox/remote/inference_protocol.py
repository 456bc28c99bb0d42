"""Models behind the Open Inference Protocol v2 over HTTP: KServe, Triton, MLServer, OpenVINO Model Server.

https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from freemcg.blackbox.asking import Charge
from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.cache import QueryCache
from freemcg.blackbox.remote.encoding import eight_bit
from freemcg.blackbox.remote.environment import Environment
from freemcg.blackbox.remote.image_input import arrange, read_input
from freemcg.blackbox.remote.replies import Rows, class_index, read_json
from freemcg.blackbox.remote.tensors import HEADER_LENGTH, NUMBERS, raw, read_outputs
from freemcg.blackbox.remote.transport import Reply, Transport
from freemcg.messages.errors import InvalidValue

BINARY_EXTENSION = "binary_tensor_data"
PREPARED_AT_ONCE = 512


class InferenceProtocol:
    """A model on a server that speaks the protocol. `BlackBox` queries it. Its metadata are read when it is made.

    A `UINT8` input gets the 8-bit image, and a `BYTES` input gets a PNG file. An `FP16`, `FP32` or `FP64` input gets
    the image in [0, 1], as the black box prepared it. Tensors are sent in the binary extension if the server names it,
    else as JSON. (`BYTES` in JSON are base64, with the parameter `content_type: base64`, as in MLServer.)

    Args:
        url: `http(s)://HOST/v2/models/NAME`, with `/versions/VERSION` for a certain version. The address and the
            headers may hold `${FREEMCG_NAME}`, which is read from the environment.
        headers: sent with every request.
        input_name, output_name: needed if the model has several.
        layout: `"NCHW"` or `"NHWC"`, needed if the metadata do not tell it.
        class_names: needed if the output holds names of classes.
        transport: arguments of `Transport`.

    Raises:
        RemoteError: the server does not answer.
        ValueError: there is no such model, or it takes no image. The message says what the model takes.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
        layout: str | None = None,
        class_names: Sequence[str] | None = None,
        **transport: Any,
    ) -> None:
        environment = Environment()
        self.url, self._url = url, environment.fill_url(url).rstrip("/")
        before, found, path = self._url.partition("/v2/models/")
        if not found or not path:
            raise InvalidValue(f"url is {url!r}; the address of a model ends in /v2/models/NAME")
        filled = {name: environment.fill_header(name, text) for name, text in (headers or {}).items()}
        self.transport = Transport(headers=filled, hide=environment.hide, **{"batch_size": 8, **transport})
        server, self._metadata = self._get(f"{before}/v2"), self._get(self._url)
        extensions = server.get("extensions")
        self.binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
        try:
            described = _chosen(self._metadata.get("inputs"), input_name, "input", self._url)
            self.output = _chosen(self._metadata.get("outputs"), output_name, "output", self._url)["name"]
            self.input = read_input(described, layout, self._url)
        except ValueError as error:
            raise InvalidValue(environment.hide(str(error))) from None
        if self.input.datatype == "FP16" and not self.binary:
            raise InvalidValue(f"{url} takes FP16, which JSON cannot hold, and has no binary extension")
        if self.input.one_at_a_time:
            self.transport.batch_size = 1
        self.class_names = None if class_names is None else tuple(class_names)

    @property
    def identity(self) -> str:
        """The address as given, and a digest of all that an answer may depend on."""
        fields = [self._url, self._metadata, self.input.name, self.input.layout, self.output, self.class_names]
        digest = hashlib.blake2b(json.dumps(fields, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"{self.url}:{digest}"

    def __repr__(self) -> str:
        return f"InferenceProtocol({self.url})"

    def answers(self, images: Tensor, charge: Charge) -> Generator[tuple[int, int, Rows]]:
        """Query images `(N, C, H, W)`, and yield `(start, count, scores)` as answers arrive."""
        if self.input.datatype in ("UINT8", "BYTES"):
            values: NDArray[Any] = eight_bit(images)
        else:
            values = images.permute(0, 2, 3, 1).cpu().numpy().astype(NUMBERS[self.input.datatype])
        yield from self.transport.answers(len(images), partial(self._request, values), self._read, charge)

    def _request(self, values: NDArray[Any], start: int, stop: int) -> dict[str, Any]:
        array = arrange(values[start:stop], self.input.layout)
        described: dict[str, Any] = {
            "name": self.input.name,
            "shape": list(array.shape),
            "datatype": self.input.datatype,
        }
        output: dict[str, Any] = {"name": self.output}
        request: dict[str, Any] = {"method": "POST", "url": f"{self._url}/infer"}
        if not self.binary:
            data = array.ravel().tolist()
            if self.input.datatype == "BYTES":
                data = [base64.b64encode(each).decode() for each in data]
                described["parameters"] = {"content_type": "base64"}
            return request | {"json": {"inputs": [{**described, "data": data}], "outputs": [output]}}
        body = raw(array)
        described["parameters"] = {"binary_data_size": len(body)}
        output["parameters"] = {"binary_data": True}
        header = json.dumps({"inputs": [described], "outputs": [output]}).encode()
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
        return request | {"content": header + body, "headers": headers}

    def _read(self, reply: Reply, count: int) -> Rows:
        try:
            outputs = read_outputs(reply.content, reply.headers)
            if self.output not in outputs:
                raise InvalidValue(f"lacks the output {self.output!r}")
            rows = outputs[self.output]
            if self.input.layout in ("CHW", "HWC") and rows.shape[:1] != (1,):
                rows = rows[None]
            if rows.ndim == 0 or len(rows) != count:
                raise InvalidValue(f"has shape {rows.shape} for {count} images")
            if rows.dtype == object:
                names = self.class_names or ()
                return np.array([class_index(label, names) for label in rows.reshape(count)], dtype=np.float64)
            if rows.ndim == 2 and rows.shape[1] == 1 and rows.dtype.kind in "iu":  # one label per image
                rows = rows[:, 0]
            return rows.astype(np.float64)
        except ValueError as error:
            problem = self.transport.hide(f"{self._url}: the answer {error}: ")
            raise InvalidValue(problem + self.transport.shown(reply.content)) from None

    def _get(self, url: str) -> dict[str, Any]:
        content = self.transport.get(url).content
        try:
            found = read_json(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InvalidValue(
                self.transport.hide(f"{url} does not speak the Open Inference Protocol v2: ")
                + self.transport.shown(content)
            )
        return found


def inference_black_box(
    url: str,
    scores: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    budget: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    cache: QueryCache | None = None,
    **options: Any,
) -> BlackBox:
    """The black box that queries a model behind the protocol with 8-bit images. Making it reads only the metadata.

    Args:
        url: the address of the model; see `InferenceProtocol`, which takes `options`.
        scores: the kind of scores in its output; see `BlackBox`, which takes the other arguments.
        image_size, channels: needed only if the metadata leave them open.
        mean, std: only for an input of `FP16`, `FP32` or `FP64`.

    Raises:
        RemoteError: the server does not answer.
        ValueError: the model takes no image, or the arguments do not fit it.
    """
    model = InferenceProtocol(url, class_names=class_names, **options)
    given = (image_size, image_size) if isinstance(image_size, int) else image_size
    if model.input.image_size is not None and given not in (None, model.input.image_size):
        raise InvalidValue(f"image_size is {image_size} but {url} takes {'x'.join(map(str, model.input.image_size))}")
    if model.input.channels is not None and channels not in (None, model.input.channels):
        raise InvalidValue(f"channels is {channels} but {url} takes {model.input.channels}")
    if mean is not None and model.input.datatype in ("UINT8", "BYTES"):
        raise InvalidValue(f"{url} takes 8-bit images ({model.input.datatype}); leave out mean and std")
    return BlackBox(
        model,
        scores,
        image_size=model.input.image_size or given,
        channels=model.input.channels or channels,
        mean=mean,
        std=std,
        eight_bit=True,
        batch_size=PREPARED_AT_ONCE,
        budget=budget,
        num_classes=num_classes,
        class_names=class_names,
        cache=cache,
    )


def _chosen(offered: Any, name: str | None, what: str, place: str) -> dict[str, Any]:
    if not isinstance(offered, list) or not offered or not all(isinstance(each, dict) for each in offered):
        raise InvalidValue(f"{place} does not tell its {what}s; state them in the settings of the model")
    names = ", ".join(str(each.get("name")) for each in offered)
    found = [each for each in offered if "name" in each and name in (None, each["name"])]
    if len(found) != 1:
        option = " or --output" if what == "output" else ""
        instead = "" if name is None else f", not {name!r}"
        raise InvalidValue(f"{place} has the {what}s {names}; name one of them with {what}_name{option}{instead}")
    return dict(found[0])
