"""A rerank server around a peer library, with TEI's `/rerank`: `serve.py --backend onnxruntime …`.

Requests are cut into batches, which workers take off one queue: a worker is a thread that owns a stream
of the library, and encodes what it computes. HTTP is Python's own server with a thread a connection. It
costs well under a millisecond a request, and libraries compute without Python's lock.
"""

import argparse
import json
import math
import pathlib
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backends import BACKENDS, TOKENS_MAX, open_backend

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of the texts that are scored before anybody is served.
WARM_UP_WORDS = (8, 24, 48, 72, 96, 160, 300)


class Call:
    """One request's scores, as its batches come in."""

    def __init__(self, documents, batches):
        self.logits = [None] * documents
        self.left = batches
        self.error = None
        self.lock = threading.Lock()
        self.done = threading.Event()

    def settle(self, places, logits, error):
        for place, logit in zip(places, logits):
            self.logits[place] = logit
        with self.lock:
            self.error = self.error or error
            self.left -= 1
            if self.left == 0:
                self.done.set()


class Pool:
    def __init__(self, streams, batch, sort):
        self.streams, self.batch, self.sort = streams, batch, sort
        self.queue = queue.SimpleQueue()
        for stream in streams:
            threading.Thread(target=self._work, args=(stream,), daemon=True).start()

    def score(self, query, texts):
        """The logit of each text, or the error of one of its batches."""
        order = list(range(len(texts)))
        if self.sort:
            # By characters, which follow tokens closely. The longest goes first: no worker is left
            # with a long batch at the end.
            order.sort(key=lambda place: -len(texts[place]))
        # Nobody is idle while another has two texts of the same request.
        size = max(1, min(self.batch, math.ceil(len(texts) / len(self.streams))))
        pieces = [order[start : start + size] for start in range(0, len(order), size)]
        call = Call(len(texts), len(pieces))
        for places in pieces:
            self.queue.put((call, places, query, [texts[place] for place in places]))
        call.done.wait()
        if call.error:
            raise call.error
        return call.logits

    def _work(self, stream):
        while True:
            call, places, query, texts = self.queue.get()
            logits, error = [], None
            try:
                logits = stream.logits(query, texts)
            except Exception as failure:  # told to the client; the worker goes on
                error = failure
            stream.pairs += len(places)
            call.settle(places, logits, error)

    def warm_up(self):
        for words in WARM_UP_WORDS:
            for _ in range(2):
                texts = ["some words " * (words // 2)] * self.batch * len(self.streams)
                self.score("what are words", texts)

    def metrics(self):
        """Under the names that `maitred bench` reads; nothing is said of what a library hides."""
        pairs = sum(stream.pairs for stream in self.streams)
        lines = [f'maitred_pairs_total{{model="default"}} {pairs}']
        if all(stream.tokens is not None for stream in self.streams):
            tokens = sum(stream.tokens for stream in self.streams)
            padding = sum(stream.padding for stream in self.streams)
            lines += [
                f'maitred_batch_tokens_total{{model="default"}} {tokens}',
                f'maitred_batch_padding_tokens_total{{model="default"}} {padding}',
            ]
        return "\n".join(lines) + "\n"


def probability(logit):
    """Without overflow on either side."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def handler(pool, info):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer must not wait for the acknowledgement of its head.
        disable_nagle_algorithm = True
        wbufsize = -1

        def log_message(self, *_):
            pass

        def answer(self, status, body, kind="application/json"):
            body = body.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/health":
                self.answer(200, "")
            elif self.path == "/info":
                self.answer(200, json.dumps(info))
            elif self.path == "/metrics":
                self.answer(200, pool.metrics(), "text/plain")
            else:
                self.answer(404, "{}")

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path != "/rerank":
                return self.answer(404, "{}")
            try:
                asked = json.loads(body)
                query, texts = asked["query"], asked["texts"]
            except (ValueError, KeyError, TypeError) as error:
                return self.refuse(422, "Validation", error)
            try:
                scores = pool.score(query, texts)
            except Exception as error:  # whatever the library raised
                return self.refuse(424, "Backend", error)
            if not asked.get("raw_scores"):
                scores = [probability(score) for score in scores]
            ranking = sorted(enumerate(scores), key=lambda result: -result[1])
            self.answer(200, json.dumps([{"index": index, "score": score} for index, score in ranking]))

        def refuse(self, status, kind, error):
            self.answer(status, json.dumps({"error": str(error), "error_type": kind}))

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, required=True)
    parser.add_argument("--precision", choices=["int8", "bf16", "f32"], required=True)
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "target/peers/models", help="what weights.py made")
    parser.add_argument("--model", default="l6", help="folder in it: l6 or l12")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=2, help="batches that are computed at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each stream")
    parser.add_argument("--batch", type=int, default=1, help="pairs computed together, at most")
    parser.add_argument("--sort", action="store_true", help="put texts of similar length together")
    arguments = parser.parse_args()

    folder = arguments.models / arguments.model
    version, streams = open_backend(arguments.backend, folder, arguments.precision, arguments.streams, arguments.threads)
    pool = Pool(streams, arguments.batch, arguments.sort)
    pool.warm_up()
    info = {
        "version": f"{arguments.backend} {version}",
        "model_id": arguments.model,
        "model_dtype": arguments.precision,
        "max_input_length": TOKENS_MAX,
    }
    Server(("127.0.0.1", arguments.port), handler(pool, info)).serve_forever()


if __name__ == "__main__":
    main()
