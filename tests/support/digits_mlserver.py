"""A real MLServer with the bundled digits classifier behind it, in a process of its own.

    python tests/support/digits_mlserver.py        prints the addresses of its models, and runs until it is stopped

MLServer must be installed beside this Python. Its models answer the logits `(N, 10)`. `digits-uint8` takes 8-bit images
`(N, 32, 32, 1)`, `digits-fp32` takes images in [0, 1] `(N, 1, 32, 32)`, and `digits-png` takes files. `digits-untold`
is `digits-uint8` without metadata.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import freemcg

MLSERVER = Path(sys.executable).with_name("mlserver")
LONGEST_START = 300

RUNTIME = """\
import io

import numpy as np
import torch
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceResponse
from PIL import Image

from freemcg import load_bundle


class Digits(MLModel):
    async def load(self):
        self.classifier = load_bundle("digits").classifier
        return True

    async def predict(self, payload):
        (given,) = payload.inputs
        if given.datatype == "BYTES":
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(each))) for each in Base64Codec.decode_input(given)])
            images = torch.from_numpy(pixels)[:, None].float() / 255
        elif given.datatype == "UINT8":
            pixels = NumpyCodec.decode_input(given).reshape(-1, 1, 32, 32)  # one channel, so that its axis may move
            images = torch.from_numpy(pixels).float() / 255
        else:
            images = torch.from_numpy(NumpyCodec.decode_input(given))
        with torch.no_grad():
            logits = self.classifier(images).numpy()
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])
"""

LOGITS = {"name": "logits", "datatype": "FP32", "shape": [-1, 10]}
MODELS = {
    "digits-uint8": {
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 1]}],
        "outputs": [LOGITS],
    },
    "digits-fp32": {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 32, 32]}],
        "outputs": [LOGITS],
    },
    "digits-png": {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}], "outputs": [LOGITS]},
    "digits-untold": {},
}


@contextmanager
def running(folder):
    """The address `http://127.0.0.1:PORT/v2/models`. The server runs within the block, on files in `folder`."""
    http, grpc = free_ports(2)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0}))
    (folder / "digits_runtime.py").write_text(RUNTIME)
    for name, metadata in MODELS.items():
        (folder / name).mkdir()
        described = {"name": name, "implementation": "digits_runtime.Digits", **metadata}
        (folder / name / "model-settings.json").write_text(json.dumps(described))
    package = str(Path(freemcg.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [MLSERVER, "start", folder],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{http}/v2"
        end = time.monotonic() + LONGEST_START
        while not all(is_ready(f"{address}/models/{name}") for name in MODELS):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"MLServer did not start: {(folder / 'log.txt').read_text()[-3000:]}")
            time.sleep(0.2)
        yield f"{address}/models"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_ready(model):
    """Whether the server answers, and has loaded the model."""
    try:
        with urlopen(f"{model}/ready", timeout=10) as reply:
            return reply.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, running(Path(place)) as found:
        print("\n".join(f"{found}/{name}" for name in MODELS), flush=True)
        signal.pause()
