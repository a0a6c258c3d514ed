"""What computes scores: each peer library behind one small interface, `Backend`.

A backend is opened once with a number of streams and of threads for each, and gives as many streams,
each to be used by one thread. A stream turns a query and texts into logits, in one batch. Knows nothing
of HTTP, queues or sorting.
"""

import os

# Each worker encodes its own batches; threads of the tokenizer's own would only be in their way.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy  # noqa: E402
import tokenizers  # noqa: E402

TOKENS_MAX = 512


class Encoder:
    """Pairs of query and text as arrays, padded to the longest of the batch."""

    def __init__(self, folder):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(TOKENS_MAX, strategy="longest_first")
        self.tokenizer.enable_padding()

    def __call__(self, query, texts):
        encoded = self.tokenizer.encode_batch([(query, text) for text in texts])
        columns = {
            "input_ids": [pair.ids for pair in encoded],
            "attention_mask": [pair.attention_mask for pair in encoded],
            "token_type_ids": [pair.type_ids for pair in encoded],
        }
        return {name: numpy.array(column, dtype=numpy.int64) for name, column in columns.items()}


class Stream:
    """Runs a graph. What was computed is counted: pairs by who asks, tokens and padding here."""

    def __init__(self, encoder, run):
        self.encoder, self.run = encoder, run
        self.pairs = self.tokens = self.padding = 0

    def logits(self, query, texts):
        inputs = self.encoder(query, texts)
        mask = inputs["attention_mask"]
        tokens = int(mask.sum())
        self.tokens += tokens
        self.padding += mask.size - tokens
        return self.run(inputs).reshape(-1).tolist()


def onnxruntime(folder, precision, streams, threads):
    """A session a stream: they share no lock and no arena. The graphs are the exporter's: what the library's
    own optimiser for transformers makes of them took longer (9.3 ms a pair instead of 7.9 in int8)."""
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    encoder = Encoder(folder)

    def stream():
        file = str(folder / f"{precision}.onnx")
        session = library.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        wanted = {value.name for value in session.get_inputs()}

        def run(inputs):
            return session.run(outputs, {name: inputs[name] for name in wanted})[0]

        return Stream(encoder, run)

    return library.__version__, [stream() for _ in range(streams)]


def openvino(folder, precision, streams, threads):
    """One compiled model, whose streams are the library's own. bf16 is the f32 graph with a hint.

    It computes the quantised ONNX with floats (30 ms a pair where f32 took 21), so it gets int8 weights and
    quantises activations itself (10 ms), in groups of so many that larger ones are no faster.
    """
    import openvino as library

    core = library.Core()
    model = core.read_model(folder / ("int8-weights.onnx" if precision == "int8" else "f32.onnx"))
    settings = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * threads,
        # Left alone, it is bf16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    if precision == "int8":
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 128
    compiled = core.compile_model(model, "CPU", settings)
    encoder = Encoder(folder)
    wanted = {value.any_name for value in compiled.inputs}

    def stream():
        request = compiled.create_infer_request()

        def run(inputs):
            # What `infer` would do with arrays costs more of Python's time than all the rest here.
            for name in wanted:
                request.set_tensor(name, library.Tensor(inputs[name], shared_memory=True))
            request.infer()
            return request.get_output_tensor(0).data

        return Stream(encoder, run)

    return library.__version__.split("-")[0], [stream() for _ in range(streams)]


class CrossEncoderStream:
    """As its users call it, tokenizing and padding included, which it does not count."""

    tokens = padding = None

    def __init__(self, model, threads):
        self.model, self.threads = model, threads
        self.pairs = 0

    def logits(self, query, texts):
        import torch

        torch.set_num_threads(self.threads)  # of the calling thread
        pairs = [(query, text) for text in texts]
        scores = self.model.predict(
            pairs, batch_size=len(pairs), show_progress_bar=False, activation_fn=torch.nn.Identity()
        )
        return numpy.asarray(scores, dtype=numpy.float32).reshape(-1).tolist()


def sentence_transformers(folder, precision, streams, threads):
    """One CrossEncoder, which several threads may call."""
    import sentence_transformers as library
    import torch

    torch.set_num_threads(threads)
    model = library.CrossEncoder(
        str(folder),
        device="cpu",
        max_length=TOKENS_MAX,
        local_files_only=True,
        model_kwargs={"dtype": torch.bfloat16 if precision == "bf16" else torch.float32},
    )
    return library.__version__, [CrossEncoderStream(model, threads) for _ in range(streams)]


BACKENDS = {
    "onnxruntime": (onnxruntime, ["int8", "f32"]),
    "openvino": (openvino, ["int8", "bf16", "f32"]),
    "sentence-transformers": (sentence_transformers, ["f32", "bf16"]),
}


def open_backend(name, folder, precision, streams, threads):
    """The library's version and its streams."""
    opener, precisions = BACKENDS[name]
    if precision not in precisions:
        raise SystemExit(f"{name} has no {precision} here; there are {', '.join(precisions)}")
    return opener(folder, precision, streams, threads)
