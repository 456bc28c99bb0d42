"""Query any JSON endpoint as a black box. A description says how; it is data, not code."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Generator
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator
from torch import Tensor

from freemcg.blackbox.asking import Charge
from freemcg.blackbox.body import IMAGE, filled, holds_image, nodes, repeats, with_images
from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.cache import QueryCache
from freemcg.blackbox.remote.encoding import eight_bit, encode
from freemcg.blackbox.remote.environment import HOLDS_A_SECRET, Environment, refuse_secret
from freemcg.blackbox.remote.replies import (
    Rows,
    names_classes,
    read_json,
    read_labelled,
    read_labels,
    read_numbers,
    read_scores,
)
from freemcg.blackbox.remote.transport import FASTEST, LONGEST, MOST_RETRIES, SHORTEST, SLOWEST, Reply, Transport
from freemcg.blackbox.scores import TWO_CLASSES, VALUE
from freemcg.messages.errors import InvalidValue, require

PREPARED_AT_ONCE = 512
BY_NAME = ("labels", "top_k", "label")
PROBABILITIES = ("probabilities", "labels", "top_k", "binary", "multi_label")


class EndpointDescription(BaseModel):
    """Says where an endpoint is, what it takes and what it answers. Any text may hold `${FREEMCG_NAME}`.

    Such a variable is read from the environment when the endpoint is made. No other variable can be named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(description="the address, which gets requests by POST")
    headers: dict[str, str] = Field({}, description="a secret only as ${FREEMCG_NAME}")
    send: Literal["json", "multipart", "raw"] = "json"
    encoding: Literal["png", "jpeg", "numbers"] = Field("png", description="numbers are nested lists, for json only")
    body: Any = Field(
        None,
        description="for json: the body. {image} stands for the image (base64, or the lists). If a list has one "
        "element, and that holds {image}, the element is repeated for each image. {class_names} stands for the names, "
        "with commas between them",
    )
    field: str = Field("image", description="for multipart: the name of the part")
    layout: Literal["HWC", "CHW"] = Field("HWC", description="for numbers")
    value_range: tuple[FiniteFloat, FiniteFloat] = Field((0, 1), description="for numbers: black and white")
    answer: str = Field("@", description="the JMESPath to the scores or labels of all images in the reply")
    means: Literal[
        "probabilities",
        "percent",
        "logits",
        "log_probabilities",
        "labels",
        "top_k",
        "label",
        "binary",
        "binary_logit",
        "multi_label",
        "multi_label_logit",
        "value",
    ] = Field(
        description="what the answers are: rows of scores; probabilities by name, of all classes (labels) or of some "
        "(top_k); one class per image (label); one number per image, the probability (binary) or logit of the positive "
        "class; a probability or logit for each of several labels; or numbers that mean themselves (value). Scores by "
        "name are, for each image, a list of {label, score}, a mapping {label: score} or two lists {label: [...], "
        "score: [...]}. Rows of any kind may come by name"
    )
    percent: bool = Field(False, description="probabilities are in percent; those of exclusive classes sum to 100")
    class_names: str | tuple[str, ...] | None = Field(None, description="a list, or one text with commas")
    image_size: int | tuple[int, int] | None = Field(None, description="a side, or height and width")
    channels: Literal[1, 3] | None = None
    batch_size: Annotated[int, Field(ge=1, description="the most images per request")] = 1
    concurrency: Annotated[int, Field(ge=1, le=256, description="requests at a time")] = 8
    requests_per_second: Annotated[float, Field(ge=SLOWEST, le=FASTEST, allow_inf_nan=False)] | None = None
    timeout: Annotated[
        float, Field(ge=SHORTEST, le=LONGEST, allow_inf_nan=False, description="seconds for a whole answer")
    ] = 60.0
    retries: Annotated[int, Field(ge=0, le=MOST_RETRIES)] = 5

    @field_validator("url")
    @classmethod
    def _no_secret_in_the_url(cls, value: str) -> str:
        refuse_secret(value)
        if not value.startswith(("http://", "https://", "${")):
            raise InvalidValue("url must begin with http:// or https://")
        return value

    @field_validator("headers")
    @classmethod
    def _no_secret_in_a_header(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if HOLDS_A_SECRET.search(name) and "${" not in text:
                raise InvalidValue(f"the header {name} must not hold its secret; write ${{FREEMCG_NAME}} in its place")
        return value

    @field_validator("body")
    @classmethod
    def _is_json(cls, value: Any) -> Any:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidValue(
                f"body is sent as JSON, which cannot hold it ({error}); write texts and numbers"
            ) from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> EndpointDescription:
        if self.send == "json" and not holds_image(self.body):
            raise InvalidValue("body must hold {image} where the image goes, for send: json")
        if self.send != "json" and self.body is not None:
            raise InvalidValue(f"body is for send: json, not for {self.send}")
        if self.send != "json" and self.encoding == "numbers":
            raise InvalidValue(f"encoding: numbers is for send: json, not for {self.send}")
        if self.encoding == "numbers" and any(
            IMAGE in each != IMAGE for each in nodes(self.body) if isinstance(each, str)
        ):
            raise InvalidValue("{image} must be the whole text for encoding: numbers, since a list takes its place")
        if self.batch_size > 1 and (self.send != "json" or not repeats(self.body)):
            raise InvalidValue(
                f"batch_size is {self.batch_size} but a request holds one image; for several, "
                "the body needs a list of one element that holds {image}"
            )
        if self.percent and self.means not in PROBABILITIES:
            raise InvalidValue(f"percent is for {', '.join(PROBABILITIES)}, not for means: {self.means}")
        if self.means in BY_NAME and self.class_names is None:
            raise InvalidValue(f"class_names must be given for means: {self.means}")
        return self


class Endpoint:
    """The endpoint that a description describes. `BlackBox` queries it. Secrets are filled in here, and stay here.

    Raises:
        ValueError: an environment variable is not set, or its value does not fit; or `answer` is no JMESPath.
        ModuleNotFoundError: httpx2 or jmespath is not installed.
    """

    def __init__(self, description: EndpointDescription) -> None:
        self.description = description
        environment = Environment()
        self._search = _compiled(description.answer)
        self._url = environment.fill_url(description.url)
        names = description.class_names
        if isinstance(names, str):
            names = tuple(name.strip() for name in environment.fill(names).split(","))
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice and description.means in BY_NAME:
            raise InvalidValue(f"class_names has {twice[0]!r} more than once, but answers tell classes by their names")
        self.class_names = names
        self._body = filled(description.body, environment, ", ".join(names or ()))
        self.transport = Transport(
            headers={name: environment.fill_header(name, text) for name, text in description.headers.items()},
            hide=environment.hide,
            batch_size=description.batch_size,
            concurrency=description.concurrency,
            requests_per_second=description.requests_per_second,
            timeout=description.timeout,
            retries=description.retries,
        )

    @property
    def identity(self) -> str:
        """The address as described, and a digest of all that an answer may depend on."""
        fields = self.description.model_dump(
            mode="json", exclude={"batch_size", "concurrency", "requests_per_second", "timeout", "retries"}
        )
        fields |= {"url": self._url, "body": self._body, "class_names": self.class_names}
        digest = hashlib.blake2b(json.dumps(fields, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"{self.description.url}:{digest}"

    def __repr__(self) -> str:
        return f"Endpoint({self.description.url})"

    def answers(self, images: Tensor, charge: Charge) -> Generator[tuple[int, int, Rows]]:
        """Query images `(N, C, H, W)` in [0, 1], and yield `(start, count, scores)` as answers arrive."""
        request = partial(self._request, eight_bit(images))
        yield from self.transport.answers(len(images), request, self._read, charge)

    def _request(self, pixels: NDArray[np.uint8], start: int, stop: int) -> dict[str, Any]:
        described = self.description
        request: dict[str, Any] = {"method": "POST", "url": self._url}
        if described.encoding == "numbers":
            return request | {"json": with_images(self._body, [self._numbers(each) for each in pixels[start:stop]])}
        files = [encode(each, described.encoding) for each in pixels[start:stop]]
        if described.send == "json":
            return request | {"json": with_images(self._body, [base64.b64encode(each).decode() for each in files])}
        kind = f"image/{described.encoding}"
        if described.send == "multipart":
            return request | {"files": {described.field: (f"image.{described.encoding}", files[0], kind)}}
        return request | {"content": files[0], "headers": {"Content-Type": kind}}

    def _numbers(self, pixels: NDArray[np.uint8]) -> Any:
        black, white = self.description.value_range
        values = pixels if self.description.layout == "HWC" else pixels.transpose(2, 0, 1)
        return values.tolist() if (black, white) == (0, 255) else (black + values / 255 * (white - black)).tolist()

    def _read(self, reply: Reply, count: int) -> Rows:
        try:
            found = self._search(read_json(reply.content))
            if found is None:
                raise InvalidValue(f"holds nothing at {self.description.answer!r}")
            return self._meant(found, count) / (100 if self.description.percent else 1)
        except ValueError as error:
            problem = f"the answer is {error}" if str(error) == "not JSON" else f"the answer {error}"
            raise InvalidValue(
                self.transport.hide(f"{self._url}: {problem}: ") + self.transport.shown(reply.content)
            ) from None

    def _meant(self, found: Any, count: int) -> Rows:
        means, names = self.description.means, self.class_names or ()
        if means == "label":
            return read_labels(found, count, names)
        if means in TWO_CLASSES:
            return read_numbers(found, count)
        if means in BY_NAME or names_classes(found):
            if not names:
                raise InvalidValue("names its classes; give class_names, which says their order")
            return read_labelled(found, count, names, all_classes=means != "top_k")
        return read_scores(found, count) if means != VALUE or _has_rows(found) else read_numbers(found, count)


def endpoint_black_box(
    description: EndpointDescription, *, budget: int | None = None, cache: QueryCache | None = None
) -> BlackBox:
    """The black box that queries the described endpoint with 8-bit images. Making it costs no query."""
    endpoint = Endpoint(description)
    return BlackBox(
        endpoint,
        {"labels": "probabilities"}.get(description.means, description.means),
        image_size=description.image_size,
        channels=description.channels,
        eight_bit=True,
        batch_size=PREPARED_AT_ONCE,
        budget=budget,
        class_names=endpoint.class_names,
        cache=cache,
    )


def _has_rows(found: Any) -> bool:
    return isinstance(found, list) and len(found) > 0 and all(isinstance(each, list) for each in found)


def _compiled(expression: str) -> Any:
    jmespath = require("jmespath", "an endpoint's answer needs", "http")
    try:
        return jmespath.compile(expression).search
    except jmespath.exceptions.JMESPathError:
        raise InvalidValue(f"answer is {expression!r}, which is no JMESPath expression") from None
