"""A small real server of the Open Inference Protocol v2, in a process of its own.

    python tests/support/inference_server.py        prints its port

`/json/v2/...` has no extensions and fails on a binary request. `/binary/v2/...` has the binary extension and takes
nothing else. A model's name states what it takes and answers: `DATATYPE_LAYOUT_SHAPE_OUTPUT`.

The output `scores` holds three values an image, each in [0, 1]: the first channel of the first pixel, the last channel
of the last pixel in the first row, and the first channel of the first pixel in the last row. `label` and `name` hold
the greatest of the three. `column` and `flat` hold the first of them, with and without an axis of its own.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

NAMES = ["first", "right", "bottom"]
TYPES = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "INT32": np.int32}
OUTPUTS = {
    "scores": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
    "label": [{"name": "label", "datatype": "INT64", "shape": [-1, 1]}],
    "name": [{"name": "name", "datatype": "BYTES", "shape": [-1]}],
    "column": [{"name": "column", "datatype": "FP32", "shape": [-1, 1]}],
    "flat": [{"name": "flat", "datatype": "FP32", "shape": [-1]}],
    "both": [
        {"name": "label", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
    ],
}


def corners(image):
    """Three values in [0, 1] of an image `(H, W, C)`."""
    scale = 255 if image.dtype == np.uint8 else 1
    return [float(each) / scale for each in (image[0, 0, 0], image[0, -1, -1], image[-1, 0, 0])]


def opened(content):
    image = np.asarray(Image.open(io.BytesIO(content)))
    return image[..., None] if image.ndim == 2 else image


def files(given, raw):
    """The encoded images of an input of BYTES."""
    if raw is None:
        assert given["parameters"] == {"content_type": "base64"}
        return [base64.b64decode(each) for each in given["data"]]
    found = []
    while raw:
        (length,) = struct.unpack("<I", raw[:4])
        found.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    assert len(found) == given["shape"][0]
    return found


def as_images(array, layout):
    """An array in a layout, as `(N, H, W, C)`."""
    if layout == "ND":
        side = int(np.sqrt(array.shape[1]))
        return array.reshape(-1, side, side, 1)
    if "N" not in layout:
        array, layout = array[None], "N" + layout
    if "C" not in layout:
        return array[..., None]
    return array.transpose([layout.index(axis) for axis in "NHWC"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        flavour, _, *rest = self.path.strip("/").split("/")
        if not rest:
            extensions = [] if flavour == "json" else ["classification", "binary_tensor_data"]
            return self.reply({"name": "test", "version": "1", "extensions": extensions})
        datatype, _, shape, outputs = rest[1].split("_")
        if datatype == "none":
            return self.reply({"name": rest[1], "platform": "test", "inputs": [], "outputs": []})
        if datatype not in {*TYPES, "BYTES"}:
            return self.reply({"error": f"there is no model {rest[1]}"}, 404)
        taken = {"name": "image", "datatype": datatype, "shape": [int(side) for side in shape.split(",")]}
        inputs = [taken, {**taken, "name": "mask"}] if len(rest) > 2 and rest[-1] == "2" else [taken]
        return self.reply({"name": rest[1], "platform": "test", "inputs": inputs, "outputs": OUTPUTS[outputs]})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        flavour, _, _, model, *_ = self.path.strip("/").split("/")
        length = self.headers.get("Inference-Header-Content-Length")
        if (length is None) != (flavour == "json"):
            return self.reply({"error": "Internal Server Error"}, 500)
        request = json.loads(body[: None if length is None else int(length)])
        (given,) = request["inputs"]
        raw = None if length is None else body[int(length) :]
        images = self.images(model, given, raw)
        if isinstance(images, str):
            return self.reply({"error": images}, 400)
        return self.answer(request["outputs"], [corners(image) for image in images], raw is not None)

    def images(self, model, given, raw):
        """The images `(H, W, C)`, or a text that says what is wrong with the request."""
        datatype, layout, shape, _ = model.split("_")
        wanted, sent = [int(side) for side in shape.split(",")], given["shape"]
        if (given["name"], given["datatype"]) != ("image", datatype):
            return "another input"
        if len(wanted) != len(sent) or any(a not in (-1, b) for a, b in zip(wanted, sent, strict=True)):
            return f"unexpected shape {sent}"
        if datatype == "BYTES":
            return [opened(each) for each in files(given, raw)]
        if raw is not None and given["parameters"]["binary_data_size"] != len(raw):
            return "another size"
        flat = np.array(given["data"], TYPES[datatype]) if raw is None else np.frombuffer(raw, TYPES[datatype])
        return list(as_images(flat.reshape(sent), layout))

    def answer(self, wanted, rows, binary):
        best = [int(np.argmax(row)) for row in rows]
        one = self.path.split("_")[1] in ("CHW", "HWC")
        outputs, tail = [], b""
        for each in wanted:
            name = each["name"]
            values = {
                "scores": rows,
                "label": [[each] for each in best],
                "name": [NAMES[each] for each in best],
                "column": [row[:1] for row in rows],
                "flat": [row[0] for row in rows],
            }[name]
            datatype = {"label": "INT64", "name": "BYTES"}.get(name, "FP32")
            values = values[0] if one else values
            output = {"name": name, "datatype": datatype, "shape": list(np.shape(values))}
            if binary:
                assert each["parameters"] == {"binary_data": True}
                texts = [text.encode() for text in values] if name == "name" else []
                content = b"".join(struct.pack("<I", len(text)) + text for text in texts)
                content = content or np.array(values, "<i8" if name == "label" else "<f4").tobytes()
                tail += content
                outputs.append({**output, "parameters": {"binary_data_size": len(content)}})
            else:
                outputs.append({**output, "data": values})
        text = json.dumps({"model_name": "test", "outputs": outputs}).encode()
        self.send(200, text + tail, {"Inference-Header-Content-Length": str(len(text))} if binary else {})

    def reply(self, value, code=200):
        self.send(code, json.dumps(value).encode(), {})

    def send(self, code, content, headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextmanager
def running():
    """The server's address, while it runs."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
