"""The reference (transformers, f32, eager attention) and the form in which its answers are written down."""

import json

import numpy
import torch


def logits(model, tokenizer, pairs, max_length, batch=1):
    """One (tokens, logit) per (query, document), padded to the longest of each batch."""
    model.eval()
    scored = []
    for start in range(0, len(pairs), batch):
        queries, documents = zip(*pairs[start : start + batch])
        encoded = tokenizer(
            list(queries), list(documents), truncation="longest_first", max_length=max_length, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model(**encoded).logits[:, 0]
        scored += zip(encoded["attention_mask"].sum(1).tolist(), output.tolist())
    return scored


def shortest(value):
    """The shortest decimal that reads back as the same f32: goldens stay small and exact."""
    return float(str(numpy.float32(value)))


def write_json(path, content, *lists):
    """JSON with one line for each element of the named lists, so that a diff shows which case changed."""
    lines = []
    for key, value in content.items():
        text = json.dumps(value, ensure_ascii=False)
        if key in lists:
            text = "[\n" + ",\n".join(json.dumps(element, ensure_ascii=False) for element in value) + "\n]"
        lines.append(f"{json.dumps(key)}: {text}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
