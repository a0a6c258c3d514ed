"""One window of load on one server, driven and measured by `maitred bench run`.

The harness is the client: text, load, throughput and latencies are its. It does not know the process of
a server that it did not start, so CPU time and memory are added to its record here. Knows nothing of
which servers there are, or of comparing them.
"""

import dataclasses
import json
import math
import pathlib
import subprocess
import tempfile

# Of a window that is counted in requests.
REQUESTS_MIN, REQUESTS_MAX = 4, 2000
TIMEOUT_MS = 300_000
# Nobody wants a time series of a window: records stay small, and the server is left alone.
INTERVAL_MS = 600_000


@dataclasses.dataclass(frozen=True)
class Load:
    """So many documents a request, from so many clients that ask again when they have their answer."""

    documents: int
    clients: int

    def __str__(self):
        return f"{self.documents}×{self.clients}"

    @staticmethod
    def parse(text):
        documents, clients = text.lower().replace("x", "×").split("×")
        return Load(int(documents), int(clients))

    def window(self, seconds, pairs_per_second):
        """A window of one client ends with an answer, or a part of a request would be lost to it. With
        several clients it ends with the time, or the last of them would be alone."""
        if self.clients > 1:
            return {"warmup_seconds": 1.0, "seconds": float(seconds), "interval_ms": INTERVAL_MS}
        requests = math.ceil(seconds * pairs_per_second / self.documents)
        requests = max(REQUESTS_MIN, min(REQUESTS_MAX, requests))
        # At least one request comes before.
        return {"warmup_seconds": 0.2, "requests": requests, "interval_ms": INTERVAL_MS}


LOADS = [Load(96, 1), Load(64, 8), Load(64, 32), Load(8, 1)]


class Window:
    """What came of it; `record` is the harness's line with what was added."""

    def __init__(self, record):
        self.record = record
        measured = record["measured"]
        self.pairs_per_second = measured["pairs"] / measured["window_s"]
        self.p50_ms = quantile(measured["latency"], 0.5)
        self.cpu_s_per_pair = record["peers"]["cpu_s_per_pair"]

    @property
    def server(self):
        return self.record["peers"]["server"]

    @property
    def load(self):
        return Load.parse(self.record["peers"]["load"])

    @property
    def round(self):
        return self.record["repeat"]


def quantile(steps, share):
    """In ms, of pairs of µs and count."""
    left = share * sum(count for _, count in steps)
    for micros, count in steps:
        left -= count
        if left <= 0:
            return micros / 1000
    return None


def measure(maitred, server, load, seconds, pairs_per_second, number):
    """Applies the load. `number` is the round, which also decides with which query it begins."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        workload = folder / "window.toml"
        workload.write_text(
            toml(
                {
                    "title": "Peers",
                    "seed": number,
                    "target": {"url": server.base, "metrics": server.metrics},
                    "request": {"dialect": server.spec.dialect, "documents": load.documents, "timeout_ms": TIMEOUT_MS},
                    "load": {"clients": load.clients},
                    "window": load.window(seconds, pairs_per_second),
                }
            )
        )
        cpu_s, pairs = server.cpu_s(), server.pairs(load.documents)
        run = [str(maitred), "bench", "run", str(workload), "--out", str(folder)]
        ended = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode != 0:
            raise SystemExit(f"{server.spec.name}, {load}: {ended.stdout}")
        # Warm-up and what was under way at the end are in both differences.
        cpu_s, pairs = server.cpu_s() - cpu_s, server.pairs(load.documents) - pairs
        record = json.loads((folder / "window.jsonl").read_text())
    # The harness's own place for both; of the window, as far as its pairs cost what all of them did.
    record["server"]["cpu_s"] = cpu_s / pairs * record["measured"]["pairs"]
    record["server"]["memory_bytes"] = server.memory_bytes()
    record["variant"] = f"{server.spec.name}, {load}"
    record["repeat"] = number
    record["peers"] = {
        "server": server.spec.name,
        "precision": server.spec.precision,
        "settings": str(server.spec.settings) if server.spec.settings else None,
        "load": str(load),
        "cpu_s_per_pair": cpu_s / pairs,
    }
    return Window(record)


def toml(tables):
    """Plain values, and tables of them; a JSON string or number is one in TOML, too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    nested = [
        line
        for name, table in tables.items()
        if isinstance(table, dict)
        for line in [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    ]
    return "\n".join(plain + nested) + "\n"
