"""Measures maitred and its peers in turns: `compare.py --maitred FILE --model l6`, most of an hour.

Every server is started once, with the settings that `tune.py` found for each load, and they take turns
under each load, every other round backwards. Ratios are of windows of the same round, so what the
machine does meanwhile happens to both. What nobody has tuned is left out, and the report says so; it is an
error if both the peer and the load were asked for. Writes `peers-MODEL.jsonl`, a record of the harness a
window, and `peers-MODEL.md`; ctrl-c ends early and still writes the tables of the rounds that are whole.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

import texts
from servers import ROOT, Machine, Servers, Settings, installed, ours, peer
from windows import LOADS, Load, measure

# Every precision is compared by one request at a time, int8 under many as well.
ALONE = [load for load in LOADS if load.clients == 1]
GROUPS = {
    "int8": (LOADS, [("onnxruntime", "int8"), ("openvino", "int8"), ("infinity", "int8")]),
    "bf16": (ALONE, [("openvino", "bf16"), ("sentence-transformers", "bf16")]),
    "f32": (ALONE, [("onnxruntime", "f32"), ("openvino", "f32"), ("sentence-transformers", "f32")]),
}
# Mean difference of a logit from the first f32 server's: beyond it somebody computes another model.
SAME_MODEL = {"f32": 0.001, "bf16": 0.1, "int8": 0.5}
SAME_MODEL_QUERIES = 4


def start(machine, servers, precisions, wanted, tuned, loads):
    """By precision and load, who takes part; and what nobody has tuned. A peer runs once for each of its settings."""
    plan, untuned = {}, []
    for precision in precisions:
        usual, peers = GROUPS[precision]
        peers = [(backend, same) for backend, same in peers if installed(backend)]
        peers = [one for one in peers if not wanted or " ".join(one) in wanted]
        fixed = [servers.start(spec, optional=True) for spec in of_maitred(precision)]
        up = {}
        for load in loads or usual:
            plan[precision, load] = [server for server in fixed if server]
            for backend, same in peers:
                settings = tuned.get(f"{backend} {same}", {}).get(str(load))
                if settings is None:
                    without = f"{backend} {same} at {load}"
                    if wanted and loads:
                        raise SystemExit(f"nobody has tuned {without}; tune.py does")
                    print(f"left out: nobody has tuned {without}; tune.py does", flush=True)
                    untuned.append(without)
                    continue
                spec = peer(backend, same, Settings.parse(settings))
                if spec not in up:
                    up[spec] = servers.start(spec)
                plan[precision, load].append(up[spec])
    return plan, untuned


def of_maitred(precision):
    """Ours; in f32 also the model as candle's own crate has it, which is what one gets without an engine."""
    stock = [ours("f32", "candle-stock", "stock candle f32")] if precision == "f32" else []
    return [ours(precision), *stock]


def check_scores(servers):
    """All compute the same model, or there is nothing to compare."""
    asked = texts.questions(SAME_MODEL_QUERIES)
    scores = {server: [logit for one in asked for logit in server.logits(*one)] for server in servers}
    by_precision = sorted(servers, key=lambda server: list(SAME_MODEL).index(server.spec.precision))
    expected = scores[by_precision[0]]
    for server, found in scores.items():
        difference = statistics.fmean(abs(a - b) for a, b in zip(expected, found))
        if not difference <= SAME_MODEL[server.spec.precision]:
            raise SystemExit(f"{server.spec.name} is off by {difference:.4f} on average: another model?")


def run(machine, plan, rounds, seconds, records):
    """The windows of all whole rounds. Round 0 warms up, and says how fast everybody is."""
    rates, windows = {}, []
    with records.open("w") as file:
        for number in range(rounds + 1):
            this_round = []
            for (precision, load), servers in plan.items():
                for server in servers if number % 2 == 0 else servers[::-1]:
                    rate = rates.get((server, load), 0)
                    window = measure(machine.maitred, server, load, seconds, rate, number)
                    rates[server, load] = window.pairs_per_second
                    print(f"round {number}: {server.spec.name}, {load}: {window.pairs_per_second:.1f} pairs/s", flush=True)
                    this_round.append(window)
            if number > 0:
                windows += this_round
                file.writelines(json.dumps(window.record, ensure_ascii=False) + "\n" for window in this_round)
                file.flush()
                yield windows


def report(windows, machine_text):
    """The tables, of windows and of nothing else."""
    text = f"# maitred and its peers\n\n{machine_text}"
    for precision in GROUPS:
        for load in dict.fromkeys(window.load for window in windows):
            chosen = [w for w in windows if w.record["peers"]["precision"] == precision and w.load == load]
            if chosen:
                text += f"\n## {precision}, {load}\n\n{section(chosen, f'maitred {precision}')}"
    return text


def section(windows, our_name):
    heads = ["server", "settings", "pairs/s", "maitred by it", "p50, ms", "maitred's p50 by it", "CPU, ms a pair"]
    of = {}
    for window in windows:
        of.setdefault(window.server, {})[window.round] = window
    mine = of.get(our_name, {})
    rows = []
    for name in sorted(of, key=lambda name: name != our_name):
        theirs = of[name]
        both = sorted(mine.keys() & theirs.keys()) if name != our_name else []
        rows.append(
            [
                name,
                next(iter(theirs.values())).record["peers"]["settings"] or "",
                f"{median(w.pairs_per_second for w in theirs.values()):.1f}",
                ratio([mine[one].pairs_per_second / theirs[one].pairs_per_second for one in both]),
                f"{median(w.p50_ms for w in theirs.values()):.1f}",
                ratio([mine[one].p50_ms / theirs[one].p50_ms for one in both]),
                f"{median(w.cpu_s_per_pair for w in theirs.values()) * 1000:.2f}",
            ]
        )
    return table(heads, rows)


def median(values):
    return statistics.median(values)


def ratio(values):
    """The median over the rounds, with its 95 % interval."""
    if not values:
        return ""
    interval = median_interval(values)
    shown = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "n/a"
    return f"{median(values):.2f} ({shown})"


def median_interval(values, share=0.95):
    """Two of the values, between which the median lies with at least that probability, whatever the
    distribution (David and Nagaraja, "Order Statistics", 2003, 7.1). `None` of fewer than six."""
    count, outside, place = len(values), 0.0, 0
    while outside + 2 * math.comb(count, place) / 2**count <= 1 - share:
        outside += 2 * math.comb(count, place) / 2**count
        place += 1
    if place == 0:
        return None
    values = sorted(values)
    return values[place - 1], values[count - place]


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def machine_facts(maitred):
    """On what, and of which commit."""
    cpu = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = [line.partition(":") for line in info.read_text().splitlines()]
        facts = {name.strip(): value.strip() for name, _, value in lines}
        if "model name" in facts:
            kind = ", ".join(f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts)
            cpu = f"{os.cpu_count()} × {facts['model name']}" + (f" ({kind})" if kind else "")
    git = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    version = subprocess.run([maitred, "--version"], capture_output=True, text=True)
    return {"cpu": cpu, "commit": git.stdout.strip() or None, "maitred": version.stdout.strip()}


def command():
    """What was run, so that it can be again."""
    return shlex.join(["python", *map(from_root, [str(pathlib.Path(__file__).resolve()), *sys.argv[1:]])])


def from_root(word):
    """A word of the command line. Paths in the repository begin there; of others the last part is enough, as
    where it lies is this machine's business."""
    flag, equals, value = word.rpartition("=")
    if os.sep not in value:
        return word
    path = pathlib.Path(os.path.abspath(value))
    return flag + equals + (str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maitred", type=pathlib.Path, default=ROOT / "target/release/maitred")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "target/peers/models")
    parser.add_argument("--model", default="l6", help="l6, l12 or base")
    parser.add_argument("--precisions", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--loads", type=Load.parse, nargs="+", help="documents x clients, for every precision")
    parser.add_argument("--peers", nargs="+", help="by name, such as \"onnxruntime int8\"; all if absent")
    parser.add_argument("--policy", type=pathlib.Path, nargs="*", default=[], help="components in front of maitred's model")
    parser.add_argument("--tuned", type=pathlib.Path, help="of tune.py")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5, help="of a window")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/peers/results")
    arguments = parser.parse_args()
    file = arguments.tuned or pathlib.Path(__file__).parent / "tuned" / f"{arguments.model}.json"
    tuned = json.loads(file.read_text()) if arguments.tuned or file.exists() else {}
    arguments.out.mkdir(parents=True, exist_ok=True)
    records = arguments.out / f"peers-{arguments.model}.jsonl"

    machine = Machine(arguments.maitred, arguments.models, arguments.model, arguments.policy, ROOT / "target/peers/logs")
    windows = []
    try:
        with Servers(machine) as servers:
            plan, untuned = start(machine, servers, arguments.precisions, arguments.peers, tuned, arguments.loads)
            check_scores(servers.up)
            for windows in run(machine, plan, arguments.rounds, arguments.seconds, records):
                pass
    except KeyboardInterrupt:
        print("ended early")
    if windows:
        facts = machine_facts(arguments.maitred)
        rounds = len({window.round for window in windows})
        chain = ", ".join(policy.stem for policy in arguments.policy) or "none"
        about = (
            f"{facts['cpu']}; {facts['maitred']}, commit {facts['commit']}; model {arguments.model}; "
            f"{rounds} of {arguments.rounds} rounds, windows of {arguments.seconds:g} s; "
            f"policies in front of maitred's model: {chain}. Records: {records.name}. Medians over the rounds; "
            f"ratios are of windows of a round, with the 95 % interval of their median.\n\n    {command()}\n"
        )
        if untuned:
            about += f"\nLeft out, since nobody has tuned it: {', '.join(untuned)}.\n"
        text = report(windows, about)
        records.with_suffix(".md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
