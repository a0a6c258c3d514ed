"""Starts servers, on loopback and ports that are said beforehand, and stops them: maitred and its peers.

A `Spec` says which server with which settings. Every server of a comparison is up all the time, and only
one of them has something to do. Knows nothing of loads and figures.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# infinity wants other versions of everything, so it has an environment of its own.
INFINITY = ROOT / "target/peers/infinity/bin/infinity_emb"
# Nobody here asks a hub, or tells anybody that it runs.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
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

    @property
    def dialect(self):
        """As whose client it is asked."""
        return "infinity" if self.backend == "infinity" else "tei"


def ours(precision, engine="packed", name=None, source=None):
    return Spec(name or f"maitred {precision}", "maitred", precision, engine=engine, source=source)


def peer(backend, precision, settings, name=None):
    return Spec(name or f"{backend} {precision}", backend, precision, settings)


def installed(backend):
    """Whether it can be started; all but infinity are in this environment."""
    there = backend != "infinity" or INFINITY.exists()
    if not there:
        print(f"left out: {backend} is not in {INFINITY.relative_to(ROOT)}", flush=True)
    return there


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

    def folder(self, spec):
        """Where a server runs. infinity takes a folder with one graph for the model, named as here, and finds it in
        no other folder than that in which it was started."""
        if spec.backend != "infinity":
            return None
        source, folder = self.models / self.model, self.models / self.model / "infinity-int8"
        folder.mkdir(exist_ok=True)
        files = {name: name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")}
        for name, of in {**files, "model_quantized.onnx": "int8.onnx"}.items():
            shutil.copyfile(source / of, folder / name)
        return folder

    def command(self, spec, port):
        if spec.backend == "infinity":
            # It batches across requests, sorts, and has a thread a core, all by itself.
            serve = [INFINITY, "v2", "--engine", "optimum", "--device", "cpu", "--model-id", "."]
            serve += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", self.model]
            return serve + ["--batch-size", str(spec.settings.batch), "--log-level", "warning"]
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
        environment |= ENVIRONMENT
        with self.log.open("w") as log:
            log.write(" ".join(command) + "\n")
            log.flush()
            # In a group of its own: ctrl-c ends the comparison, which then stops its servers.
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=machine.folder(spec),
                start_new_session=True,
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

    def pairs(self, documents):
        """How many it has scored since it began, by its own account. Some count requests only, which must
        have had so many documents each."""
        with urllib.request.urlopen(self.metrics, timeout=5) as page:
            lines = page.read().decode().splitlines()

        def counted(*parts):
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in parts))

        if self.spec.backend == "infinity":
            return counted("http_requests_total{", 'handler="/rerank"') * documents
        return counted("maitred_pairs_total{")

    def logits(self, query, texts):
        """Of each text; the way everybody asks it."""
        documents, results, score = ("texts", None, "score")
        if self.spec.dialect == "infinity":
            documents, results, score = ("documents", "results", "relevance_score")
        body = json.dumps({"query": query, documents: texts, "raw_scores": True}).encode()
        request = urllib.request.Request(self.base + "/rerank", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=REQUEST_S_MAX) as answer:
            found = json.load(answer)
        scores = {result["index"]: result[score] for result in (found[results] if results else found)}
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
        # As by ctrl-c; without this it would end this process at once, and the servers would stay.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, *_):
        for server in self.up:
            server.stop()
