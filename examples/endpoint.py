"""Explain a model behind HTTP with a budget, keep every answer, and pay for none twice.

    python examples/endpoint.py                                  starts a small server with the bundled digits
    python examples/endpoint.py --url https://.../classify       asks yours

The endpoint takes `{"images": [base64 PNG, ...]}` and answers `{"probabilities": [[...], ...]}`. If yours differs,
change `DESCRIPTION`; docs/endpoints.md tells how. Needs the extra `http`.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from freemcg import FreeMCG, load_bundle
from freemcg.blackbox import EndpointDescription, QueryCache, endpoint_black_box

DESCRIPTION = {
    "body": {"images": ["{image}"]},
    "answer": "probabilities",
    "means": "probabilities",
    "batch_size": 8,
}


@contextmanager
def small_server() -> Iterator[str]:
    """The address of a server with the bundled digits, while it runs."""
    classifier = load_bundle().classifier

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pictures = [Image.open(io.BytesIO(base64.b64decode(each))) for each in sent["images"]]
            images = torch.stack([torch.from_numpy(np.array(each))[None].float() / 255 for each in pictures])
            with torch.no_grad():
                answer = json.dumps({"probabilities": classifier(images).softmax(dim=1).tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/classify"
    finally:
        server.shutdown()
        server.server_close()


def explain(url: str, out: Path, budget: int) -> None:
    """Explain one digit for at most `budget` queries, retries included."""
    digits = load_bundle()
    description = EndpointDescription(url=url, **DESCRIPTION)
    out.mkdir(parents=True, exist_ok=True)
    box = endpoint_black_box(description, budget=budget, cache=QueryCache(out / "answers.sqlite"))
    explainer = FreeMCG(box, digits.denoiser, seed=0)
    for name, ask in {"attribution": explainer.explain, "counterfactual": explainer.counterfactual}.items():
        result = ask(digits.images[0])
        result.save(out / f"{name}.safetensors")
        result.plot().savefig(out / f"{name}.png")
        print(f"{name}: {result.status} for {result.queries} queries")
    print(f"sent {box.queries} of {box.budget}, sent again {box.retried}, from the cache {box.cached}; see {out}")


def main() -> None:
    """Ask the endpoint that is named, or a small one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--budget", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path("endpoint"))
    given = parser.parse_args()
    if given.url is not None:
        explain(given.url, given.out, given.budget)
    else:
        with small_server() as url:
            explain(url, given.out, given.budget)


if __name__ == "__main__":
    main()
