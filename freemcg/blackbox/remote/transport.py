"""Send many requests to one server at once: each is charged before it leaves, and sent again if it fails."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from freemcg.blackbox.asking import Charge
from freemcg.blackbox.remote.logs import HiddenInLogs, close_client
from freemcg.blackbox.remote.side_by_side import side_by_side
from freemcg.blackbox.remote.waiting import Gate, retry_after, sleep
from freemcg.messages.arguments import real, whole
from freemcg.messages.errors import Refusal, require

PAYLOAD_TOO_LARGE, TOO_MANY_REQUESTS, GATEWAY_TIMEOUT = 413, 429, 504
LONGEST_BACKOFF = 30.0
SHORTEST, LONGEST = 1e-6, 86_400.0  # seconds, within which every wait lies; a clock can count them
SLOWEST, FASTEST = 1e-5, 1e6  # requests a second
MOST_RETRIES = 100
EXCERPT = 160
LOOKED_AT = 2**16  # characters at each end of a body; secrets are looked for in these alone


class RemoteError(Refusal, ConnectionError):
    """A server gave no answer, or a wrong one. The message is one sentence that says what happened."""


@dataclass(frozen=True)
class Reply:
    """An answer of the server: the status, the headers (names in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport:
    """Sends batches of images to one server.

    A batch is sent again after a timeout, a dropped connection, or a status of 429 or 5xx. It first waits as long
    as the server says (`Retry-After`). If the server says nothing, the wait doubles each time, with jitter. A batch of
    several images is halved after a status of 413 or 504, and its images count as sent again. Later batches are no
    larger than its halves. Any other status ends the work. No redirect is followed, since the key would go along.

    Args:
        headers: sent with every request.
        hide: takes the secrets out of a text; every message goes through it.
        batch_size: the most images in a request.
        concurrency: the most requests under way at a time. Connections are kept and used again.
        requests_per_second: the most requests that leave in a second, evenly spaced; `None` sets no limit.
        timeout: seconds for a whole answer, at most a day.
        retries: how often one request is sent again, at most 100 times.
        first_wait: seconds before the first retry, if the server names none.
        longest_wait: the longest `Retry-After`, in seconds, that is obeyed. A longer one ends the work.
        largest_answer: the most bytes in an answer.

    Attributes:
        batch_size: the most images in a request now; it shrinks when a batch is halved.
        spacing: the least seconds between two requests.

    Raises:
        ModuleNotFoundError: httpx2 is not installed.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        hide: Callable[[str], str] = str,
        batch_size: int = 1,
        concurrency: int = 8,
        requests_per_second: float | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        first_wait: float = 0.5,
        longest_wait: float = 120.0,
        largest_answer: int = 32 * 2**20,
    ) -> None:
        batch_size = whole("batch_size", batch_size, 1)
        concurrency = whole("concurrency", concurrency, 1)
        retries = int(real("retries", whole("retries", retries), 0, MOST_RETRIES))
        timeout = real("timeout", timeout, SHORTEST, LONGEST)
        first_wait = real("first_wait", first_wait, 0, LONGEST)
        longest_wait = real("longest_wait", longest_wait, 0, LONGEST)
        if requests_per_second is not None:
            requests_per_second = real("requests_per_second", requests_per_second, SLOWEST, FASTEST)
        self._httpx2 = require("httpx2", "a model behind an address needs", "http")
        limits = self._httpx2.Limits(
            max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=30
        )
        self._new_client = partial(
            self._httpx2.Client,
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=timeout,
            limits=limits,
            follow_redirects=False,
        )
        self.hide = hide
        self._connect()
        self.batch_size = batch_size
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.first_wait = first_wait
        self.longest_wait = longest_wait
        self.largest_answer = largest_answer
        self.spacing = 0.0 if requests_per_second is None else 1 / requests_per_second
        self._gate = Gate(self.spacing)
        self._jitter = random.Random()  # when to ask again; no result depends on it

    def answers(
        self,
        count: int,
        request: Callable[[int, int], dict[str, Any]],
        read: Callable[[Reply, int], Any],
        charge: Charge,
    ) -> Iterator[tuple[int, int, Any]]:
        """Query images 0..count - 1, and yield `(start, how many, their answers)` as answers arrive.

        Args:
            request: takes `start, stop` and returns the arguments of `httpx2.Client.stream`, at least `method` and
                `url`.
            read: takes a reply and its number of images, and returns their answers.
            charge: called on several threads before images are sent. If it raises, they are not sent.

        Requests under way and answers that the caller has not taken yet are together at most `concurrency`. An
        interrupt does not wait for the server.

        Raises:
            RemoteError: the server gave no answer, or refused. Answers to other requests are yielded first.
        """
        size, stopped = self.batch_size, threading.Event()

        def ask(piece: range) -> Iterator[tuple[int, int, Any]]:
            start = resent = piece.start  # images below `resent` were sent once, in a batch that was too large
            while start < piece.stop:
                end = min(resent if start < resent else piece.stop, start + self.batch_size)
                try:
                    reply = self._send(request(start, end), end - start, charge, stopped, again=start < resent)
                except _TooLarge:
                    self.batch_size, resent = min(self.batch_size, (end - start) // 2), max(resent, end)
                else:
                    yield start, end - start, read(reply, end - start)
                    start = end

        pieces = [range(start, min(start + size, count)) for start in range(0, count, size)]
        yield from side_by_side(ask, pieces, threads=self.concurrency, stopped=stopped, give_up=self._hang_up)

    def _connect(self) -> None:
        self._client = self._new_client()
        self.close = weakref.finalize(self, close_client, self._client, HiddenInLogs(self.hide))

    def _hang_up(self) -> None:
        """Give up the requests under way: close their connections, and open a client for the next requests."""
        self.close()
        self._connect()

    def get(self, url: str) -> Reply:
        """Fetch a page that describes the server. This costs no query."""
        return self._send({"method": "GET", "url": url}, 1, lambda images, retry: None, threading.Event(), again=False)

    def _send(
        self, request: dict[str, Any], images: int, charge: Charge, stopped: threading.Event, *, again: bool
    ) -> Reply:
        """The reply to one request, after as many tries as it takes. `again`: its images were sent before."""
        place = request["url"]
        problem = ""
        for attempt in range(self.retries + 1):
            self._gate.pass_through(stopped)
            charge(images, again or attempt > 0)
            asked_to_wait: float | None = None
            try:
                reply = self._once(request)
            except (self._httpx2.TransportError, self._httpx2.DecodingError, self._httpx2.InvalidURL) as error:
                if self._is_unsent(error):
                    charge(-images, again or attempt > 0)
                problem, hopeless = self._problem(error)
                if hopeless:
                    raise RemoteError(self.hide(f"{place} {problem}")) from None
            else:
                if 200 <= reply.status < 300:
                    return reply
                if reply.status in (PAYLOAD_TOO_LARGE, GATEWAY_TIMEOUT) and images > 1:
                    raise _TooLarge
                problem = self._described(reply)
                if reply.status != TOO_MANY_REQUESTS and reply.status < 500:
                    raise RemoteError(self.hide(f"{place} {problem}"))
                asked_to_wait = retry_after(reply.headers.get("retry-after"), time.time())
            if attempt < self.retries:
                self._wait(attempt, asked_to_wait, place, problem, stopped)
        times = "once" if self.retries == 0 else f"{self.retries + 1} times"
        raise RemoteError(self.hide(f"{place} {problem}; it was tried {times}"))

    def _wait(self, attempt: int, asked: float | None, place: str, problem: str, stopped: threading.Event) -> None:
        if not asked:
            backoff = min(self.first_wait * 2**attempt, LONGEST_BACKOFF)
            sleep(backoff * self._jitter.uniform(0.5, 1), stopped)
            return
        if asked > self.longest_wait:
            raise RemoteError(
                self.hide(
                    f"{place} {problem} and asks to wait {asked:.0f} s, more than the {self.longest_wait:g} s allowed; "
                    "start again later"
                )
            )
        self._gate.close_for(asked)

    def _once(self, request: dict[str, Any]) -> Reply:
        deadline = time.monotonic() + self.timeout
        with self._client.stream(**request) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > self.largest_answer:
                    raise RemoteError(self.hide(f"{request['url']} answered more than {self.largest_answer} bytes"))
                if time.monotonic() > deadline:
                    raise self._httpx2.ReadTimeout("the answer was too slow")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status_code, headers, bytes(content))

    def shown(self, content: bytes) -> str:
        """A body on one line, in quotes. A long one loses its middle, since a traceback ends with the error."""
        text = " ".join(content.decode("utf-8", errors="replace").split())
        if len(text) > 2 * LOOKED_AT:
            text = f"{text[:LOOKED_AT]} ... {text[-LOOKED_AT:]}"
        text = self.hide(text)
        half = EXCERPT // 2
        return repr(text if len(text) <= EXCERPT else f"{text[:half]} ... {text[-half:]}")

    def _described(self, reply: Reply) -> str:
        if 300 <= reply.status < 400:
            to = urlsplit(reply.headers.get("location", ""))
            place = f"{to.scheme}://{to.netloc.rpartition('@')[2]}" if to.netloc else "another path of the same server"
            return f"redirects to {place}, but no redirect is followed; if you trust it, name that address"
        return f"answered {reply.status}" + (f": {self.shown(reply.content)}" if reply.content.strip() else "")

    def _is_unsent(self, error: Exception) -> bool:
        kinds = self._httpx2
        never_left = (kinds.ConnectError, kinds.ConnectTimeout, kinds.PoolTimeout, kinds.UnsupportedProtocol)
        return isinstance(error, (*never_left, kinds.InvalidURL))

    def _problem(self, error: Exception) -> tuple[str, bool]:
        """The problem, as the end of a sentence, and whether another try is hopeless."""
        kinds = self._httpx2
        causes: list[BaseException] = [error]
        while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(deeper)
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"is not trusted: {cause.verify_message}", True
            if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
                return "has an unknown host name", True
        problems = (
            (kinds.TimeoutException, f"did not answer within {self.timeout:g} s", False),
            (kinds.ConnectError, "cannot be reached", False),
            (kinds.UnsupportedProtocol, "is no http or https address", True),
            (kinds.InvalidURL, "is no valid address", True),
            (kinds.LocalProtocolError, "cannot be queried: a header is malformed", True),
            (kinds.DecodingError, "answered with a body that cannot be decoded", True),
        )
        for kind, problem, hopeless in problems:
            if isinstance(error, kind):
                return problem, hopeless
        return "dropped the connection", False


class _TooLarge(Exception):
    pass
