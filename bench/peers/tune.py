"""Finds out how each peer is fastest: `tune.py --maitred FILE --model l6`, half an hour a model.

Every peer is tried with streams of one thread and with one stream of all threads, small and large batches,
sorted and not. The best of a first window under each load run twice more, taking turns; the best median
wins. Writes `MODEL.json`, by peer and load, which `compare.py` reads, and every figure beside it.
"""

import argparse
import json
import os
import pathlib
import statistics

from compare import GROUPS
from servers import ROOT, Machine, Servers, Settings, installed, peer
from windows import LOADS, Load, measure

FINALISTS = 3
FINAL_WINDOWS = 2
# Nobody is idle under either, so what is best with few clients is with many, whose windows take longest.
SAME_AS = {Load(64, 32): Load(64, 8)}


def candidates(backend, cores):
    """Sorting changes nothing where one pair is computed at a time."""
    if backend == "infinity":  # has one stream, and sorts
        return [Settings(1, cores, batch, True) for batch in (1, 4, 8, 32)]
    cuts = [(1, False), (2, True), (4, False), (4, True), (8, True), (16, True)]
    spread = [Settings(cores, 1, batch, sort) for batch, sort in cuts]
    together = [Settings(1, cores, batch, True) for batch in (1, 8, 32)]
    return spread + (together if cores > 1 else [])


def tune(machine, backend, precision, loads, seconds, note):
    """The best settings by load, each as text."""
    best = {}
    with Servers(machine) as servers:
        tried = candidates(backend, os.cpu_count())
        up = {settings: servers.start(peer(backend, precision, settings)) for settings in tried}
        # Also the first time that the library meets lengths as they really come.
        rates = {}
        for settings, server in up.items():
            rates[settings] = measure(machine.maitred, server, LOADS[0], seconds, 0, 0).pairs_per_second
        for load in [load for load in loads if load not in SAME_AS]:
            seen = {settings: [] for settings in up}
            for turn in range(1 + FINAL_WINDOWS):
                ranked = sorted(seen, key=lambda settings: -statistics.median(seen[settings] or [0]))
                for settings in ranked if turn == 0 else ranked[:FINALISTS]:
                    window = measure(machine.maitred, up[settings], load, seconds, rates[settings], turn)
                    seen[settings].append(window.pairs_per_second)
                    note(up[settings].spec.name, settings, load, window)
            finalists = {settings: found for settings, found in seen.items() if len(found) > 1}
            best[str(load)] = str(max(finalists, key=lambda settings: statistics.median(finalists[settings])))
    return best | {str(load): best[str(same)] for load, same in SAME_AS.items() if str(same) in best}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maitred", type=pathlib.Path, default=ROOT / "target/release/maitred")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "target/peers/models")
    parser.add_argument("--model", default="l6")
    parser.add_argument("--loads", type=Load.parse, nargs="+", help="documents x clients, for every precision")
    parser.add_argument("--peers", nargs="+", help="by name, such as \"onnxruntime int8\"; all if absent")
    parser.add_argument("--seconds", type=float, default=3, help="of a window")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "tuned")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / f"{arguments.model}.json"
    tuned = json.loads(file.read_text()) if file.exists() else {}
    machine = Machine(arguments.maitred, arguments.models, arguments.model, [], ROOT / "target/peers/logs")

    with file.with_suffix(".jsonl").open("a") as figures:

        def note(name, settings, load, window):
            line = {"server": name, "settings": str(settings), "load": str(load)}
            line |= {"pairs_per_second": round(window.pairs_per_second, 2), "p50_ms": window.p50_ms}
            print(json.dumps(line, ensure_ascii=False), flush=True)
            figures.write(json.dumps(line, ensure_ascii=False) + "\n")
            figures.flush()

        for backend, precision, loads in [(*of, loads) for loads, peers in GROUPS.values() for of in peers]:
            name = f"{backend} {precision}"
            if (arguments.peers and name not in arguments.peers) or not installed(backend):
                continue
            found = tune(machine, backend, precision, arguments.loads or loads, arguments.seconds, note)
            tuned[name] = tuned.get(name, {}) | found
            file.write_text(json.dumps(tuned, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
