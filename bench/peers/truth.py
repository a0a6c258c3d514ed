"""How far each server's scores are from the reference: `truth.py --maitred FILE`, some twenty-five minutes.

The reference is what the goldens were made with (transformers, f32, eager attention, one pair at a time)
on the dequantised twelve-layer weights; it takes some minutes, and is kept. Every server is then asked
for the same pairs over HTTP. Besides the imported int8 weights, maitred is asked with the f32 weights that
it quantised itself. Writes `truth.json` and `truth.md`.
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import sys

import texts
from compare import machine_facts, table
from servers import ROOT, Machine, Servers, Settings, installed, ours, peer

MODEL = "l12"
# What a cross-encoder says below this is that a document has nothing to do with the query; the order
# among such documents is of no use to anybody.
FLOOR = -10.0
SETTINGS = Settings(2, 1, 1)
# Where batches are padded, scores can depend on their neighbours.
BATCHED = Settings(2, 1, 8, True)


def subjects(machine):
    """Everything whose scores are compared."""
    models = machine.models / MODEL
    quantised = models / "maitred-quantised"
    machine.run("model", "quantize", models, "--out", quantised)
    yield ours("f32")
    yield ours("bf16")
    yield ours("int8")
    yield ours("int8", name="maitred int8, quantised by maitred", source=str(quantised))
    yield peer("onnxruntime", "f32", SETTINGS)
    yield peer("onnxruntime", "int8", SETTINGS)
    yield peer("onnxruntime", "int8", BATCHED, name="onnxruntime int8, batches of 8")
    yield peer("infinity", "int8", BATCHED)
    yield peer("openvino", "f32", SETTINGS)
    yield peer("openvino", "bf16", SETTINGS)
    yield peer("openvino", "int8", SETTINGS)
    yield peer("sentence-transformers", "f32", BATCHED)
    yield peer("sentence-transformers", "bf16", BATCHED)


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
    file = out / f"reference-{texts.digest(asked)}.json"
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
        "spearman_queries": len(orders),
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maitred", type=pathlib.Path, default=ROOT / "target/release/maitred")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "target/peers/models")
    parser.add_argument("--queries", type=int, default=552)
    parser.add_argument("--servers", nargs="+", help="by name, such as \"maitred int8\"; all if absent")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/peers/results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    asked = texts.questions(arguments.queries)
    machine = Machine(arguments.maitred, arguments.models, MODEL, [], ROOT / "target/peers/logs")
    expected = kept_reference(arguments.models / MODEL, asked, arguments.out)
    judged = sum(logit > FLOOR for one in expected for logit in one)
    found = {}
    for spec in subjects(machine):
        if (arguments.servers and spec.name not in arguments.servers) or not installed(spec.backend):
            continue
        with Servers(machine) as servers:
            server = servers.start(spec, optional=spec.backend == "maitred")
            if server:
                found[spec.name] = figures(expected, ask(server, asked))
                print(spec.name, found[spec.name], flush=True)

    facts = {"text": texts.digest(asked), "queries": len(asked), "documents": texts.DOCUMENTS}
    facts |= {"documents_above_floor": judged} | machine_facts(arguments.maitred)
    (arguments.out / "truth.json").write_text(json.dumps({"facts": facts, "servers": found}, indent=2) + "\n")
    rows = [
        [
            name,
            f"{one['difference_mean']:.2g}",
            f"{one['difference_max']:.2g}",
            f"{one['same_first_share'] * 100:.1f} %",
            f"{one['spearman_mean']:.4f}",
        ]
        for name, one in found.items()
    ]
    heads = ["server", "mean difference of a logit", "largest", "same first document", "Spearman above the floor"]
    queries = max(one["spearman_queries"] for one in found.values())
    text = (
        f"# Scores against the reference\n\n{len(asked)} queries with {texts.DOCUMENTS} documents (text {facts['text']}), "
        f"of which {judged} are above a logit of {FLOOR:g}, in {queries} queries two or more. "
        f"{facts['cpu']}, commit {facts['commit']}.\n\n{table(heads, rows)}"
    )
    (arguments.out / "truth.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
