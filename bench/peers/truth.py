"""How far each server's scores are from the reference: `truth.py --maitred FILE`, about two hours.

The reference is what the goldens were made with (transformers, f32, eager attention, one pair at a time)
on a model's f32 weights; it takes some minutes a model, and is kept. Every server is then asked for the
same pairs over HTTP. Weights of `l12` have been int8, so nothing is lost where they become int8 again.
`l12-float` is on no such grid: what maitred's own quantising costs is measured on it, with weights that are
rounded to the nearest, for its own English text, and for text like that which is asked. Writes `truth.json`
and `truth.md`; what they have of other servers stays, if it is of the same text.
"""

import argparse
import concurrent.futures
import functools
import json
import pathlib
import shutil
import statistics
import sys

import texts
from compare import machine_facts, table
from servers import ROOT, Machine, Servers, Settings, installed, ours, peer

MODELS = ("l12", "l12-float")
# What a cross-encoder says below this is that a document has nothing to do with the query; the order
# among such documents is of no use to anybody.
FLOOR = -10.0
# A query whose first two documents are nearer to each other says little of who puts which of them first.
NEAR = 0.05
# Queries, with three documents each, of the text that weights are rounded for.
ALIKE = 340
SETTINGS = Settings(2, 1, 1)
# Where batches are padded, scores can depend on their neighbours.
BATCHED = Settings(2, 1, 8, True)


def subjects(machine, asked):
    """Everything whose scores are compared with the reference of the machine's model: names, and what makes a spec."""
    if machine.model == "l12-float":  # there is nothing to import, and nothing in int8 for others
        folder = str(machine.models / machine.model)
        specs = [ours("f32", source=folder), ours("bf16", source=folder)]
        ways = {
            "maitred int8, rounded nearest": ["--nearest"],
            "maitred int8, rounded for English": [],
            "maitred int8, rounded for text of the kind": ["--text", alike(machine, asked)],
        }
    else:
        specs = [
            ours("f32"),
            ours("bf16"),
            ours("int8"),
            peer("onnxruntime", "f32", SETTINGS),
            peer("onnxruntime", "int8", SETTINGS),
            peer("onnxruntime", "int8", BATCHED, name="onnxruntime int8, batches of 8"),
            peer("infinity", "int8", BATCHED),
            peer("openvino", "f32", SETTINGS),
            peer("openvino", "bf16", SETTINGS),
            peer("openvino", "int8", SETTINGS),
            peer("sentence-transformers", "f32", BATCHED),
            peer("sentence-transformers", "bf16", BATCHED),
        ]
        ways = {"maitred int8, rounded for English": []}
    makers = {spec.name: functools.partial(lambda spec: spec, spec) for spec in specs}
    return makers | {name: functools.partial(quantised, machine, name, words) for name, words in ways.items()}


def quantised(machine, name, words):
    """What this maitred makes of the f32 weights. What an earlier one made would be in its way."""
    source = machine.models / machine.model
    folder = source / "maitred-quantised"
    shutil.rmtree(folder, ignore_errors=True)
    machine.run("model", "quantize", source, "--out", folder, *words)
    return ours("int8", name=name, source=str(folder))


def alike(machine, asked):
    """A file of text like that which is asked, and none of it."""
    file = machine.logs / "alike.jsonl"
    lines = [json.dumps({"query": query, "documents": documents}) for query, documents in texts.alike(asked, ALIKE)]
    file.write_text("\n".join(lines))
    return file


def reference_logits(folder, asked):
    """By query; one pair at a time, so nothing is padded."""
    import torch
    import transformers

    sys.path.append(str(ROOT / "tests/goldens"))
    import reference

    model = transformers.BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        pad_token="[PAD]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    logits = []
    for number, (query, documents) in enumerate(asked):
        pairs = [(query, document) for document in documents]
        logits.append([logit for _, logit in reference.logits(model, tokenizer, pairs, 512)])
        if number % 50 == 0:
            print(f"reference: {number} of {len(asked)} queries, torch {torch.__version__}", flush=True)
    return logits


def kept_reference(folder, asked, out):
    file = out / f"reference-{folder.name}-{texts.digest(asked)}.json"
    if not file.exists():
        file.write_text(json.dumps(reference_logits(folder, asked)))
    return json.loads(file.read_text())


def figures(expected, found):
    """How two sets of logits, by query, are different."""
    differences = [abs(a - b) for one, other in zip(expected, found) for a, b in zip(one, other)]
    first = [one.index(max(one)) == other.index(max(other)) for one, other in zip(expected, found)]
    orders = [spearman(*above(one, other)) for one, other in zip(expected, found)]
    orders = [order for order in orders if order is not None]
    return {
        "difference_mean": statistics.fmean(differences),
        "difference_max": max(differences),
        "same_first_share": statistics.fmean(first),
        "spearman_mean": statistics.fmean(orders),
    }


def about(expected):
    """What the reference itself says of how much its figures can tell."""
    judged = [sum(logit > FLOOR for logit in one) for one in expected]
    firsts = [sorted(one)[-2:] for one in expected]
    return {
        "documents_above_floor": sum(judged),
        "queries_with_an_order": sum(count > 1 for count in judged),
        "queries_with_near_firsts": sum(first - second < NEAR for second, first in firsts),
    }


def above(expected, found):
    """Both, of the documents that the reference puts above the floor."""
    places = [place for place, logit in enumerate(expected) if logit > FLOOR]
    return [expected[place] for place in places], [found[place] for place in places]


def spearman(one, other):
    """The correlation of ranks; `None` of fewer than two. Equal logits share the mean of their ranks."""
    if len(one) < 2:
        return None
    return correlation(ranks(one), ranks(other))


def ranks(values):
    order = sorted(values)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in values]


def correlation(one, other):
    try:
        return statistics.correlation(one, other)
    except statistics.StatisticsError:  # one of them says the same of all
        return 0.0


def ask(server, asked):
    """The logits by query; two requests at a time keep both cores busy."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda one: server.logits(*one), asked))


def section(found):
    """What was found with one model."""
    heads = [
        "server",
        "mean difference of a logit",
        "largest",
        "same first document",
        "Spearman above the floor",
        "commit",
    ]
    rows = [
        [
            name,
            f"{one['difference_mean']:.3g}",
            f"{one['difference_max']:.2g}",
            f"{one['same_first_share'] * 100:.2f} %",
            f"{one['spearman_mean']:.4f}",
            one["commit"],
        ]
        for name, one in found["servers"].items()
    ]
    return (
        f"In the reference, {found['documents_above_floor']} documents are above a logit of {FLOOR:g}, in "
        f"{found['queries_with_an_order']} queries two or more; in {found['queries_with_near_firsts']} queries the "
        f"first two documents are less than {NEAR:g} apart.\n\n{table(heads, rows)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maitred", type=pathlib.Path, default=ROOT / "target/release/maitred")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "target/peers/models")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS, help="all if absent")
    parser.add_argument("--queries", type=int, default=1430)
    parser.add_argument("--servers", nargs="+", help="by name, such as \"maitred int8\"; all if absent")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/peers/results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    asked = texts.questions(arguments.queries)
    facts = {"text": texts.digest(asked), "queries": len(asked), "documents": texts.DOCUMENTS}
    facts |= machine_facts(arguments.maitred)
    commit = facts.pop("commit")
    found = kept(arguments.out, facts)
    for model in arguments.model:
        machine = Machine(arguments.maitred, arguments.models, model, [], ROOT / "target/peers/logs")
        expected = kept_reference(arguments.models / model, asked, arguments.out)
        found[model] = {"servers": {}} | found.get(model, {}) | about(expected)
        for name, make in subjects(machine, asked).items():
            if arguments.servers and name not in arguments.servers:
                continue
            spec = make()
            if not installed(spec.backend):
                continue
            with Servers(machine) as servers:
                server = servers.start(spec, optional=spec.backend == "maitred")
                if server:
                    one = figures(expected, ask(server, asked)) | {"commit": commit}
                    found[model]["servers"][spec.name] = one
                    print(f"{model}: {spec.name}", one, flush=True)
                    write(arguments.out, facts, found)


def kept(out, facts):
    """What was found earlier, of the same text on the same kind of machine."""
    file = out / "truth.json"
    earlier = json.loads(file.read_text()) if file.exists() else {}
    return earlier["models"] if earlier.get("facts") == facts else {}


def write(out, facts, found):
    (out / "truth.json").write_text(json.dumps({"facts": facts, "models": found}, indent=2) + "\n")
    text = (
        f"# Scores against the reference\n\n{facts['queries']} queries with {facts['documents']} documents "
        f"(text {facts['text']}). {facts['cpu']}.\n"
    )
    text += "".join(f"\n## {model}\n\n{section(one)}" for model, one in found.items())
    (out / "truth.md").write_text(text)


if __name__ == "__main__":
    main()
