"""A real HTTP server that answers as it is told to, in a process of its own.

    python tests/support/misbehaving_server.py        prints its port

`POST /NAME/STEP+STEP+...` takes the k-th step for the k-th request under that name, and the last step from then on. A
request holds images in any form. If the step allows it, the answer holds a row of probabilities for each image:
`(v, 100, 300 - v) / 400` for the grey level `v` of its first pixel. So an answer tells which image it belongs to.
`GET /NAME/log` tells what came in: `[[seconds, client port, [v, ...], step, headers], ...]`. `GET /NAME/replies` tells
what went out: `[[seconds, images], ...]`. `GET /NAME/headers/...` repeats the headers that the user chose.
"""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

from PIL import Image

NAMES = ["low", "middle", "high"]


def probabilities(level):
    return [level / 400, 0.25, (300 - level) / 400]


def images_in(kind, body):
    """Every image of a request, in order: raw, in a multipart form, or anywhere in JSON as base64 or nested lists."""
    if kind.startswith("image/"):
        return [body]
    if kind.startswith("multipart/"):
        form = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        return [part.get_payload(decode=True) for part in form.get_payload()]
    return list(images_within(json.loads(body)))


def images_within(node):
    if isinstance(node, str) and (node.startswith(("iVBOR", "/9j/", "data:image/"))):
        yield base64.b64decode(node.rpartition(",")[2])
    elif depth(node) >= 3:
        yield from [node] if depth(node) == 3 else node
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from images_within(each)


def depth(node):
    """How deep lists are nested around their first number. It is 0 for anything else."""
    if isinstance(node, list):
        within = depth(node[0])
        return within + 1 if within or isinstance(node[0], int | float) else 0
    return 0


def flat(node):
    return flat(node[0]) if isinstance(node, list) else [node]


def level(image):
    """The first value of the first pixel. A number that is not whole is multiplied by 255."""
    if isinstance(image, list):
        value = flat(image)[0]
        return round(255 * value) if isinstance(value, float) else value
    pixel = Image.open(io.BytesIO(image)).getpixel((0, 0))
    return pixel if isinstance(pixel, int) else pixel[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name, _, which = self.path[1:].partition("/")
        noted = {"log": self.server.logs, "replies": self.server.replies}.get(which, {})
        self.reply(json.dumps(self.headers_of_user() if which.startswith("headers/") else noted.get(name, [])))

    def do_POST(self):
        _, name, script = self.path.split("?")[0].split("/")[:3]
        self.body = body = self.rfile.read(int(self.headers["Content-Length"]))
        levels = [level(each) for each in images_in(self.headers["Content-Type"], body)]
        steps = script.split("+")
        with self.server.lock:
            log = self.server.logs.setdefault(name, [])
            step = steps[min(len(log), len(steps) - 1)]
            log.append([time.monotonic(), self.client_address[1], levels, step, dict(self.headers)])
        step, _, argument = step.partition("=")
        getattr(self, "step_" + step)([probabilities(level) for level in levels], argument)
        with self.server.lock:
            self.server.replies.setdefault(name, []).append([time.monotonic(), len(levels)])

    def step_ok(self, rows, argument):
        self.reply(json.dumps({"probabilities": rows}))

    def step_wait(self, rows, seconds):
        time.sleep(float(seconds))
        self.step_ok(rows, "")

    def step_jumble(self, rows, seconds):
        """Answer in another order than the questions."""
        self.step_wait(rows, random.uniform(0, float(seconds)))

    def step_drip(self, rows, seconds):
        """Send a byte now and then, so that no single wait is long."""
        text = json.dumps({"probabilities": rows}).encode()
        self.begin(200, len(text))
        for byte in text:
            time.sleep(float(seconds))
            self.wfile.write(bytes([byte]))

    def step_most(self, rows, most):
        self.status(413, "") if len(rows) > int(most) else self.step_ok(rows, "")

    def step_within(self, rows, most):
        self.status(504, "") if len(rows) > int(most) else self.step_ok(rows, "")

    def step_status(self, rows, code):
        self.status(int(code), "")

    def step_traceback(self, rows, code):
        calls = "".join(f'  File "served.py", line {line}, in call\n' for line in range(40))
        self.status(int(code), f"Traceback (most recent call last):\n{calls}RuntimeError: out of memory\n")

    def status(self, code, text, **headers):
        self.reply(text, code, **headers)

    def step_later(self, rows, seconds):
        self.status(429, "slow down", **{"Retry-After": seconds})

    def step_date(self, rows, seconds):
        self.status(429, "slow down", **{"Retry-After": formatdate(time.time() + float(seconds), usegmt=True)})

    def step_echo(self, rows, argument):
        """Refuse with a text that repeats the key."""
        self.status(401, f"the key {self.headers.get('X-Key')} is not known")

    def step_repeat(self, rows, argument):
        """Refuse with a text that repeats the headers of the user, and the secret of the body."""
        self.status(401, f"{self.headers_of_user()} {json.loads(self.body).get('login')}")

    def headers_of_user(self):
        return [value for name, value in self.headers.items() if name.startswith(("X-", "Authorization", "Cookie"))]

    def step_reset(self, rows, argument):
        self.begin(200, 1000)
        self.wfile.write(b'{"probabilities": [[0.')
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def step_drop(self, rows, argument):
        self.close_connection = True

    def step_truncated(self, rows, argument):
        self.reply(json.dumps({"probabilities": rows})[:-9])

    def step_html(self, rows, argument):
        self.reply("<html><body>Please log in</body></html>", content_type="text/html")

    def step_rows(self, rows, argument):
        self.reply(json.dumps({"probabilities": [*rows, rows[0]]}))

    def step_nan(self, rows, argument):
        self.reply(json.dumps({"probabilities": [[float("nan")] * 3 for _ in rows]}))

    def step_classes(self, rows, argument):
        self.reply(json.dumps({"probabilities": [[*row, 0.0] for row in rows]}))

    def step_turned(self, rows, argument):
        """Answer as another model would."""
        self.step_ok([row[::-1] for row in rows], "")

    def step_permuted(self, rows, argument):
        """Answer the classes in another order every time, without a word on which is which."""
        _, name, _ = self.path.split("/")
        order = random.Random(len(self.server.logs[name])).sample(range(3), 3)
        self.step_ok([[row[index] for index in order] for row in rows], "")

    def step_shuffled(self, rows, argument):
        """Answer labels with scores, in another order every time."""
        labelled = [[{"label": n, "score": s} for n, s in zip(NAMES, row, strict=True)] for row in rows]
        for row in labelled:
            random.shuffle(row)
        self.reply(json.dumps(labelled))

    def step_best(self, rows, most):
        """Answer the best few labels with scores. For one image there is no list around them."""
        ranked = [sorted(zip(row, NAMES, strict=True), reverse=True)[: int(most)] for row in rows]
        lists = [[{"label": name, "score": score} for score, name in row] for row in ranked]
        self.reply(json.dumps(lists if len(lists) > 1 else lists[0]))

    def step_vertex(self, rows, argument):
        """Answer in the way that Vertex AI lists classes."""
        ranked = [sorted(zip(row, NAMES, strict=True), reverse=True) for row in rows]
        ids = ["1", "2", "3"]
        lists = [
            {"ids": ids, "displayNames": [name for _, name in row], "confidences": [score for score, _ in row]}
            for row in ranked
        ]
        self.reply(json.dumps({"predictions": lists, "deployedModelId": "7"}))

    def step_one(self, rows, argument):
        self.reply(json.dumps(rows[0]))

    def step_chat(self, rows, argument):
        best = NAMES[max(range(3), key=rows[0].__getitem__)]
        self.reply(json.dumps({"choices": [{"message": {"content": f" {best.title()}.\n"}}]}))

    def step_say(self, rows, text):
        """Answer the text that the step holds."""
        self.reply(base64.urlsafe_b64decode(text).decode())

    def step_deep(self, rows, argument):
        self.reply("[" * 100_000)

    def step_huge(self, rows, size):
        self.begin(200, int(size))
        with suppress(OSError):
            for _ in range(int(size) // 65536):
                self.wfile.write(b" " * 65536)
        self.close_connection = True

    def step_redirect(self, rows, to):
        self.status(307, "", Location=self.path.partition("?")[2])

    def reply(self, text, code=200, content_type="application/json", **headers):
        content = text.encode()
        self.begin(code, len(content), content_type, **headers)
        self.wfile.write(content)

    def begin(self, code, length, content_type="application/json", **headers):
        self.send_response(code)
        for name, value in {"Content-Type": content_type, "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.logs, self.replies, self.lock = {}, {}, threading.Lock()

    def shutdown_request(self, request):
        request.close()  # with a reset if the step asked for one

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # an OSError is a client that hung up
            super().handle_error(request, client_address)


class Running:
    """The server as tests see it."""

    def __init__(self, port):
        self.port = port

    def url(self, name, script):
        return f"http://127.0.0.1:{self.port}/{name}/{script}"

    def log(self, name):
        return self.told(name, "log")

    def told(self, name, what):
        with urlopen(f"http://127.0.0.1:{self.port}/{name}/{what}") as answer:
            return json.load(answer)


@contextmanager
def running():
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        yield Running(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    server = Server()
    print(server.server_address[1], flush=True)
    server.serve_forever()
