"""Measure what docs/endpoints.md states about models behind an address, against a server on loopback.

python tests/benchmarks/remote.py throughput
python tests/benchmarks/remote.py overhead
python tests/benchmarks/remote.py kills --count 20
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import torch
import typer

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import asking
import misbehaving_server

from freemcg.blackbox import BlackBox, EndpointDescription, QueryCache, endpoint_black_box

app = typer.Typer(add_completion=False, help=__doc__)


class Handler(BaseHTTPRequestHandler):
    """Answers a row of probabilities for each image after 50 ms, and 413 to more than 8 images."""

    protocol_version = "HTTP/1.1"
    delay = 0.05

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        count = body.count(b"iVBOR")
        time.sleep(self.delay)
        content = json.dumps({"probabilities": [[0.2, 0.3, 0.5]] * count}).encode()
        head = f"HTTP/1.1 {413 if count > 8 else 200} .\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        self.wfile.write(head + content)

    def log_message(self, *arguments: object) -> None:
        pass


class Immediate(Handler):
    delay = 0.0


def served(handler: type[Handler]) -> tuple[subprocess.Popen[str], str]:
    """The address of the server, which runs in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "serve", handler.__name__], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}/"


@app.command(hidden=True)
def serve(name: str) -> None:
    """Run the server itself."""
    handler = {"Handler": Handler, "Immediate": Immediate}[name]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


def box(url: str, **fields: object) -> BlackBox:
    described = {"body": {"images": ["{image}"]}, "answer": "probabilities", "means": "probabilities"}
    return endpoint_black_box(EndpointDescription.model_validate({"url": url, **described, **fields}))


def digits(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def seconds(black_box: BlackBox, images: torch.Tensor) -> float:
    began = time.perf_counter()
    black_box(images)
    return time.perf_counter() - began


@app.command()
def throughput(queries: int = 512, concurrency: int = 8, repeats: int = 3) -> None:
    """Compare many requests at once with one at a time, and with the ideal: 50 ms latency, 8 images a request."""
    process, url = served(Handler)
    try:
        images = digits(queries)
        together, single = box(url, batch_size=8, concurrency=concurrency), box(url, batch_size=8, concurrency=1)
        for each in (together, single):
            each(images[:64])  # connections and code are warm
        fast = min(seconds(together, images) for _ in range(repeats))
        slow = seconds(single, images)
    finally:
        process.kill()
        process.wait()
    ideal = queries / 8 / concurrency * Handler.delay
    print(f"{queries} queries, 8 a request, {Handler.delay * 1000:.0f} ms latency, {concurrency} requests at a time:")
    print(f"{fast:.3f} s; one at a time {slow:.3f} s: {slow / fast:.1f} times faster (wanted: 6)")
    print(f"ideal {ideal:.3f} s: {fast / ideal:.2f} times that (wanted: at most 1.3)")


@app.command()
def overhead(queries: int = 512, repeats: int = 5) -> None:
    """Measure our own time a query, over that of bare httpx2: no latency, one request at a time, 1 image each."""
    process, url = served(Immediate)
    try:
        images = digits(queries)
        black_box = box(url, concurrency=1)
        endpoint = black_box.predict
        from freemcg.blackbox.remote.encoding import eight_bit

        ready = [endpoint._request(eight_bit(images), index, index + 1) for index in range(queries)]
        client = httpx2.Client()
        ours, bare = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            for request in ready:
                client.request(**request).json()
            bare.append(time.perf_counter() - began)
            ours.append(seconds(black_box, images))
        client.close()
    finally:
        process.kill()
        process.wait()
    own = (min(ours) - min(bare)) / queries * 1000
    print(f"bare httpx2 {min(bare) / queries * 1000:.3f} ms a query, ours {min(ours) / queries * 1000:.3f} ms:")
    print(f"{own:.3f} ms of our own, the PNG included (wanted: under 1)")


@app.command()
def kills(count: int = 20, queries: int = 200, seed: int = 0) -> None:
    """Count the queries that a job pays if SIGKILL ends it at random moments and it is started again each time.

    A request holds 4 images; one or 8 requests are under way at a time. An answer is kept as soon as it arrives, so a
    kill costs at most the requests that were under way.
    """
    for concurrency in (1, 8):
        _kills(count, queries, seed, concurrency)


def _kills(count: int, queries: int, seed: int, concurrency: int) -> None:
    moments = random.Random(seed)
    with misbehaving_server.running() as server, tempfile.TemporaryDirectory() as folder:
        url, path = server.url("kills", "wait=0.02"), Path(folder) / "answers.sqlite"
        killed, lost = 0, []
        while killed < count:
            command = [sys.executable, asking.__file__, url, str(path), str(queries), str(concurrency)]
            before, began = len(server.log("kills")), time.monotonic()
            kept = _kept(path)
            with subprocess.Popen(command) as process:
                stop = before + moments.randint(1, max(1, queries // 4 // count))
                while len(server.log("kills")) < stop and process.poll() is None:
                    time.sleep(moments.uniform(0, 0.02))
                if process.poll() is not None:
                    break
                process.kill()
                killed += 1
                came, went = _came_and_went(server, began, time.monotonic())
                lost.append((came - went, went - (_kept(path) - kept)))
        black_box = asking.asking(url, QueryCache(path), concurrency=1)
        answers = black_box(asking.pictures(queries))
        same = torch.equal(answers, asking.asking(server.url("undisturbed", "ok"))(asking.pictures(queries)))
        paid = sum(len(levels) for _, _, levels, _, _ in server.log("kills"))
    each, most = (paid - queries) / max(killed, 1), 4 * concurrency
    under_way, answered = (sum(each) / max(killed, 1) for each in zip(*lost, strict=True))
    print(f"requests of 4, {concurrency} at a time, killed {killed} times: {paid} queries paid for {queries},")
    print(f"{each:.2f} a kill (wanted: at most {most}); {under_way:.2f} images were under way at the server,")
    print(f"{answered:.2f} answered and not kept; the answers are {'the same' if same else 'NOT THE SAME'}")


def _kept(path: Path) -> int:
    return sum(each.answers for each in QueryCache(path).models())


def _came_and_went(server: misbehaving_server.Running, began: float, ended: float) -> tuple[int, int]:
    """How many images the server got between two moments, and how many it answered, after those under way are done."""
    time.sleep(0.2)
    came = sum(len(levels) for seconds, _, levels, _, _ in server.log("kills") if began < seconds < ended)
    went = sum(images for seconds, images in server.told("kills", "replies") if began < seconds < ended)
    return came, went


if __name__ == "__main__":
    app()
