"""Reads a dynamically quantised BERT in ONNX and gives its weights back as f32, under transformers' names.

Linear weights are named by the bias that is added to their product, because the exporter gives them
anonymous names. Knows nothing of the model's sizes, and refuses a graph in which a weight finds no name.
"""

import numpy
import onnx
import torch


def dequantised_weights(path):
    """All weights of the model as f32 torch tensors, linear ones as [out, in]."""
    graph = onnx.load(path).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    consumers = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    weights = {name: value for name, value in values.items() if name.endswith((".bias", "LayerNorm.weight"))}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            stem = node.input[1].removesuffix("_quantized")
            weights[_linear_name(node, consumers)] = _dequantise(values, stem).T
        elif node.op_type == "Gather" and node.input[0].endswith("_quantized"):
            stem = node.input[0].removesuffix("_quantized")
            weights[stem] = _dequantise(values, stem)

    quantised = sum(name.endswith("_quantized") for name in values)
    named = sum(name.endswith(".weight") and "LayerNorm" not in name for name in weights)
    assert quantised == named, f"{quantised} quantised tensors but {named} names"
    return {name: torch.from_numpy(numpy.array(value)) for name, value in weights.items()}


def _dequantise(values, stem):
    """(q - zero point) * scale; the difference is exact in i32, the product is rounded once in f32."""
    zero_point = values[stem + "_zero_point"].astype(numpy.int32)
    integers = values[stem + "_quantized"].astype(numpy.int32) - zero_point
    return integers.astype(numpy.float32) * values[stem + "_scale"]


def _linear_name(node, consumers):
    """MatMulInteger -> Cast -> Mul (scale) -> Add (bias): the bias names the layer."""
    for expected in ("Cast", "Mul", "Add"):
        (node,) = consumers[node.output[0]]
        assert node.op_type == expected, f"{node.name} is {node.op_type}, not {expected}"
    (bias,) = [name for name in node.input if name.endswith(".bias")]
    return bias.removesuffix(".bias") + ".weight"
