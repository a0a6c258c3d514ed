"""Starts servers, on loopback and ports that are said beforehand, and stops them: maitred and its peers.

A `Spec` says which server with which settings. Every server of a comparison is up all the time, and only
one of them has something to do. Knows nothing of loads and figures.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PORT = 9400
READY_S_MAX = 180
STOP_S_MAX = 20
# Beyond what the slowest load takes: thirty-two requests that wait for each other.
REQUEST_S_MAX = 300


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a peer's work is cut and spread; `str` and `parse` are each other's opposite: `2x1 b4 sorted`."""

    streams: int
    threads: int
    batch: int
    sort: bool = False

    def __str__(self):
        return f"{self.streams}x{self.threads} b{self.batch}" + (" sorted" if self.sort else "")

    @staticmethod
    def parse(text):
        shape, batch, *sort = text.split()
        streams, threads = shape.split("x")
        return Settings(int(streams), int(threads), int(batch.removeprefix("b")), sort == ["sorted"])

    def arguments(self):
        numbers = {"--streams": self.streams, "--threads": self.threads, "--batch": self.batch}
        flags = [word for name, value in numbers.items() for word in (name, str(value))]
        return flags + (["--sort"] if self.sort else [])


@dataclasses.dataclass(frozen=True)
class Spec:
    """`name` is what reports call it. maitred has an engine, and chooses the rest itself."""

    name: str
    backend: str
    precision: str
    settings: Settings | None = None
    engine: str | None = None
    # A folder; absent for what `imported` makes of the same weights.
    source: str | None = None


def ours(precision, engine="packed", name=None, source=None):
    return Spec(name or f"maitred {precision}", "maitred", precision, engine=engine, source=source)


def peer(backend, precision, settings, name=None):
    return Spec(name or f"{backend} {precision}", backend, precision, settings)


class Machine:
    """What all servers of a comparison have in common."""

    def __init__(self, maitred, models, model, policies, logs):
        self.maitred, self.models, self.model, self.policies, self.logs = maitred, models, model, policies, logs
        logs.mkdir(parents=True, exist_ok=True)
        self.port = PORT

    def next_port(self):
        self.port += 1
        return self.port

    def run(self, *words):
        """A command of maitred's."""
        subprocess.run([self.maitred, *words], check=True, stdout=subprocess.DEVNULL)

    def imported(self):
        """maitred's own folder of the very file that onnxruntime runs."""
        folder = self.models / self.model
        made = folder / "maitred-int8"
        self.run("model", "import", folder / "int8.onnx", "--out", made)
        return made

    def command(self, spec, port):
        if spec.backend != "maitred":
            serve = [sys.executable, HERE / "serve.py", "--backend", spec.backend, "--precision", spec.precision]
            serve += ["--models", self.models, "--model", self.model, "--port", str(port)]
            return serve + spec.settings.arguments()
        config = self.logs / f"{spec.name.replace(' ', '-')}.toml"
        source = spec.source or self.imported()
        config.write_text(
            f"[server]\nrequest_ms_max = {REQUEST_S_MAX * 1000}\nreload = 'off'\n"
            f"[models.default]\nsource = {json.dumps(str(source))}\n"
            f"engine = '{spec.engine}'\nprecision = '{spec.precision}'\n"
        )
        serve = [self.maitred, "serve", "--config", config, "--listen", f"127.0.0.1:{port}"]
        serve += ["--ops-listen", f"127.0.0.1:{self.next_port()}"]
        return serve + [word for policy in self.policies for word in ("--policy", policy)]


class Server:
    """One that runs and is ready."""

    def __init__(self, machine, spec):
        self.spec = spec
        port = machine.next_port()
        command = [str(word) for word in machine.command(spec, port)]
        self.base = f"http://127.0.0.1:{port}"
        operations = machine.port if spec.backend == "maitred" else port
        self.metrics = f"http://127.0.0.1:{operations}/metrics"
        self.log = machine.logs / f"{port}-{spec.name.replace(' ', '-')}.log"
        # What is measured is what is said here, and nothing else.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAITRED_")}
        with self.log.open("w") as log:
            log.write(" ".join(command) + "\n")
            log.flush()
            # In a group of its own: ctrl-c ends the comparison, which then stops its servers.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self.usage = psutil.Process(self.process.pid)
        try:
            self._wait("/ready" if spec.backend == "maitred" else "/health")
        except BaseException:
            self.stop()
            raise

    def _wait(self, path):
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.spec.name} ended with status {self.process.returncode}; see {self.log}")
            try:
                with urllib.request.urlopen(self.base + path, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise SystemExit(f"{self.spec.name} was not ready after {READY_S_MAX} s; see {self.log}")

    def cpu_s(self):
        """CPU time of all its threads since it began."""
        times = self.usage.cpu_times()
        return times.user + times.system

    def memory_bytes(self):
        return self.usage.memory_info().rss

    def pairs(self):
        """How many it has scored since it began, by its own account."""
        with urllib.request.urlopen(self.metrics, timeout=5) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("maitred_pairs_total{"))

    def logits(self, query, texts):
        """Of each text; the way everybody asks it."""
        body = json.dumps({"query": query, "texts": texts, "raw_scores": True}).encode()
        request = urllib.request.Request(self.base + "/rerank", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=REQUEST_S_MAX) as answer:
            results = json.load(answer)
        scores = {result["index"]: result["score"] for result in results}
        return [scores[place] for place in range(len(texts))]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Servers:
    """As many as are compared; all end with the block."""

    def __init__(self, machine):
        self.machine, self.up = machine, []

    def start(self, spec, optional=False):
        """`None` if it is optional and does not start: not every build has every precision."""
        try:
            server = Server(self.machine, spec)
        except SystemExit as error:
            if not optional:
                raise
            print(f"left out: {error}", flush=True)
            return None
        self.up.append(server)
        return server

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.up:
            server.stop()
