"""
The network of a tagger as an ONNX graph: from word and character numbers to emissions.

The graph is written operator by operator from the modules and their weights, not traced: it holds for any number of
sentences, words and characters, depends on no exporter of a torch version, and needs the package onnx alone.
"""

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.modules import FeedForward
from allennlp.modules.seq2seq_encoders import (
    GruSeq2SeqEncoder,
    LstmSeq2SeqEncoder,
    PassThroughEncoder,
    PytorchSeq2SeqWrapper,
)
from allennlp.modules.seq2vec_encoders import CnnEncoder, GruSeq2VecEncoder, LstmSeq2VecEncoder, PytorchSeq2VecWrapper
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import Embedding, TokenCharactersEncoder
from allennlp.nn.activations import LinearActivation

# Of 2021, which everything that runs ONNX today knows.
_OPSET = 15
_IR_VERSION = 8

# What the graph takes besides the numbers of words: how many words sentences have, which of the distinct words stands
# where, and how many characters each distinct word has.
LENGTHS, PLACES, WORD_LENGTHS = "lengths", "places", "word_lengths"
EMISSIONS = "emissions"

_LOWEST = np.finfo(np.float32).min
# The gates of a cell in torch's order, as places in ONNX's: input, output, forget, cell; update, reset, new.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
_ACTIVATIONS: Dict[type, Tuple[str, ...]] = {
    torch.nn.ReLU: ("Relu",),
    torch.nn.Tanh: ("Tanh",),
    torch.nn.Sigmoid: ("Sigmoid",),
    torch.nn.Softplus: ("Softplus",),
    LinearActivation: (),
}


def import_onnx() -> Any:
    """
    The package onnx.

    # Raises

    `ConfigurationError` : where it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise ConfigurationError(
            "the package onnx is not installed, which writes the network: pip install 'onnx>=1.16' 'onnxruntime>=1.18'"
        ) from None
    return onnx


def network(model: Any) -> bytes:
    """
    The network of a `structkd_tagger`.

    It takes, for B sentences of up to T words, U distinct words of up to C characters:

    - for each embedding its key, (B, T) int64: the numbers of the words, 0 where there is none,
    - for each character encoder its key, (U, C) int64: the numbers of the characters, 0 where there is none; with
      `places` (B, T) int64, which of the distinct words is where, and `word_lengths` (U,) int32, at least 1,
    - `lengths` (B,) int32: words of each sentence, at least 1,

    as far as it uses them, and gives `emissions` (B, T, L) float32, of no meaning where there is no word.

    # Parameters

    model : `StructuredTagger`

    # Returns

    `bytes` : a serialized ONNX model.

    # Raises

    `ConfigurationError` : naming a part that cannot be exported.
    """
    graph = _Graph()
    embedded = graph.embedded(model.text_field_embedder)
    if model.encoder is not None:
        embedded = graph.encoded(model.encoder)(embedded)
    if model.feedforward is not None:
        embedded = graph.fed_forward(model.feedforward, embedded)
    graph.linear(model.emission_layer._module, embedded, EMISSIONS)
    return graph.serialized(len(model.labels))


def refused(part: str, module: Any, supported: str) -> ConfigurationError:
    """The error for a part that has no counterpart in the graph."""
    return ConfigurationError(f"this tagger cannot be exported: {part} is a {type(module).__name__}, not {supported}")


class _Graph:
    """Nodes, weights and inputs as they come together; the values between nodes are known by names."""

    def __init__(self) -> None:
        self._onnx = import_onnx()
        self._nodes: List[Any] = []
        self._weights: List[Any] = []
        self._inputs: Dict[str, Any] = {}
        self._count = 0

    # --- The tagger's parts ---

    def embedded(self, embedder: Any) -> str:
        """(B, T, D)"""
        if type(embedder) is not BasicTextFieldEmbedder:
            raise refused("model.text_field_embedder", embedder, "the basic one")
        parts = []
        for key in embedder._ordered_embedder_keys:
            part = embedder._token_embedders[key]
            where = f"model.text_field_embedder.token_embedders.{key}"
            if type(part) is Embedding:
                parts.append(self.looked_up(part, self.input(key, "int64", ("B", "T")), where))
            elif type(part) is TokenCharactersEncoder:
                parts.append(self.characters(part, key, where))
            else:
                raise refused(where, part, "an embedding of words or an encoding of their characters")
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=-1)

    def looked_up(self, embedding: Embedding, numbers: str, where: str) -> str:
        """The rows of a table, projected if they are."""
        if embedding.max_norm is not None:
            raise ConfigurationError(f"this tagger cannot be exported: {where} has a max_norm")
        rows = self.node("Gather", [self.weight(embedding.weight), numbers], axis=0)
        return rows if embedding._projection is None else self.linear(embedding._projection, rows)

    def characters(self, part: TokenCharactersEncoder, key: str, where: str) -> str:
        """(B, T, F), from what each distinct word gives once."""
        # (U, C), (U, C, E)
        numbers = self.input(key, "int64", ("U", f"{key}_C"))
        vectors = self.looked_up(part._embedding._module, numbers, where)
        encoder = part._encoder._module
        if type(encoder) is CnnEncoder:
            features = self.convolved(encoder, numbers, vectors, where)
        elif type(encoder) in (LstmSeq2VecEncoder, GruSeq2VecEncoder, PytorchSeq2VecWrapper):
            lengths = self.input(WORD_LENGTHS, "int32", ("U",))
            features = self.recurrent(encoder._module, vectors, lengths, f"{where}.encoder", last=True)
        else:
            raise refused(f"{where}.encoder", encoder, "a cnn, lstm or gru")
        return self.node("Gather", [features, self.input(PLACES, "int64", ("B", "T"))], axis=0)

    def convolved(self, encoder: CnnEncoder, numbers: str, vectors: str, where: str) -> str:
        """(U, F): the maxima over the windows that lie within a word; 0 for a word that is shorter than the window."""
        # (U, C)
        inside = self.node("Cast", [numbers], to=self._onnx.TensorProto.BOOL)
        # (U, C, 1)
        weights = self.node("Unsqueeze", [self.cast(inside, "FLOAT"), self.constant([2])])
        # (U, E, C)
        channels = self.node("Transpose", [self.node("Mul", [vectors, weights])], perm=[0, 2, 1])
        lowest, zero = self.constant(_LOWEST), self.constant(np.float32(0))
        maxima = []
        for number in range(len(encoder._convolution_layers)):
            layer = getattr(encoder, f"conv_layer_{number}")
            windows = self.node("Conv", [channels, self.weight(layer.weight), self.weight(layer.bias)])
            activated = self.activated(encoder._activation, windows, f"{where}.encoder.conv_layer_activation")
            # (U, 1, C − width + 1): a window lies within the word if its last character does.
            width = int(layer.kernel_size[0])
            ends = [self.constant([value]) for value in (width - 1, np.iinfo(np.int64).max, 1)]
            within = self.node("Unsqueeze", [self.node("Slice", [inside, *ends]), self.constant([1])])
            found = self.node("ReduceMax", [self.node("Where", [within, activated, lowest])], axes=[2], keepdims=0)
            maxima.append(self.node("Where", [self.node("Equal", [found, lowest]), zero, found]))
        together = maxima[0] if len(maxima) == 1 else self.node("Concat", maxima, axis=1)
        return together if encoder.projection_layer is None else self.linear(encoder.projection_layer, together)

    def encoded(self, encoder: Any) -> Callable[[str], str]:
        """What makes (B, T, H) of (B, T, D)."""
        if type(encoder) is PassThroughEncoder:
            return lambda vectors: vectors
        if type(encoder) not in (LstmSeq2SeqEncoder, GruSeq2SeqEncoder, PytorchSeq2SeqWrapper):
            raise refused("model.encoder", encoder, "an lstm, gru or pass_through")
        if encoder.stateful:
            raise ConfigurationError("this tagger cannot be exported: model.encoder is stateful")
        lengths = self.input(LENGTHS, "int32", ("B",))
        return lambda vectors: self.recurrent(encoder._module, vectors, lengths, "model.encoder", last=False)

    def recurrent(self, module: Any, vectors: str, lengths: str, where: str, last: bool) -> str:
        """(N, H) of the last words, or (N, T, H) of all, directions side by side; lengths (N,)."""
        kind = {torch.nn.LSTM: "LSTM", torch.nn.GRU: "GRU"}.get(type(module))
        if kind is None:
            raise refused(where, module, "an lstm or gru of torch")
        if getattr(module, "proj_size", 0):
            raise ConfigurationError(f"this tagger cannot be exported: {where} has a proj_size")
        directions = ["", "_reverse"] if module.bidirectional else [""]
        # (T, N, E)
        states = self.node("Transpose", [vectors], perm=[1, 0, 2])
        final = ""
        for layer in range(module.num_layers):
            inputs = [states, *self.cell_weights(module, kind, layer, directions), lengths]
            options: Dict[str, Any] = {
                "hidden_size": module.hidden_size,
                "direction": "bidirectional" if module.bidirectional else "forward",
            }
            if kind == "GRU":
                # As torch has it: the reset gate acts on what the recurrent weights give.
                options["linear_before_reset"] = 1
            # (T, directions, N, H), (directions, N, H)
            by_direction, final = self.nodes(kind, inputs, 2, **options)
            beside = self.node("Transpose", [by_direction], perm=[0, 2, 1, 3])
            states = self.node("Reshape", [beside, self.constant([0, 0, -1])])
        if last:
            return self.node("Reshape", [self.node("Transpose", [final], perm=[1, 0, 2]), self.constant([0, -1])])
        return self.node("Transpose", [states], perm=[1, 0, 2])

    def cell_weights(self, module: Any, kind: str, layer: int, directions: Sequence[str]) -> List[str]:
        """The names of the weights W, R and B of a layer."""
        stacked = []
        for what in ("weight_ih", "weight_hh"):
            tables = [_by_gate(getattr(module, f"{what}_l{layer}{end}"), kind) for end in directions]
            stacked.append(self.constant(np.stack(tables)))
        size = len(_GATES[kind]) * module.hidden_size
        biases = [
            np.concatenate(
                [
                    _by_gate(getattr(module, f"{what}_l{layer}{end}"), kind)
                    if module.bias
                    else np.zeros(size, np.float32)
                    for what in ("bias_ih", "bias_hh")
                ]
            )
            for end in directions
        ]
        return [*stacked, self.constant(np.stack(biases))]

    def fed_forward(self, part: Any, vectors: str) -> str:
        """The linear layers one after the other, each activated."""
        if type(part) is not FeedForward:
            raise refused("model.feedforward", part, "AllenNLP's FeedForward")
        for layer, activation in zip(part._linear_layers, part._activations, strict=True):
            vectors = self.activated(activation, self.linear(layer, vectors), "model.feedforward.activations")
        return vectors

    def activated(self, activation: Any, values: str, where: str) -> str:
        if type(activation) not in _ACTIVATIONS:
            raise refused(where, activation, "relu, tanh, sigmoid, softplus or linear")
        if type(activation) is torch.nn.Softplus and (activation.beta, activation.threshold) != (1, 20):
            raise ConfigurationError(f"this tagger cannot be exported: {where} has options")
        for operator in _ACTIVATIONS[type(activation)]:
            values = self.node(operator, [values])
        return values

    def linear(self, layer: Any, vectors: str, name: str = "") -> str:
        """(…, out) of (…, in), under `name` if one is given."""
        product = self.node("MatMul", [vectors, self.weight(layer.weight.t())])
        if layer.bias is None:
            return self.nodes("Identity", [product], 1, names=[name])[0] if name else product
        return self.nodes("Add", [product, self.weight(layer.bias)], 1, names=[name] if name else None)[0]

    # --- What the graph is made of ---

    def input(self, name: str, kind: str, shape: Tuple[str, ...]) -> str:
        element = getattr(self._onnx.TensorProto, kind.upper())
        self._inputs[name] = self._onnx.helper.make_tensor_value_info(name, element, list(shape))
        return name

    def weight(self, tensor: torch.Tensor) -> str:
        return self.constant(tensor.detach().cpu().float().numpy())

    def constant(self, value: Any) -> str:
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        name = self._new("constant")
        self._weights.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def cast(self, value: str, kind: str) -> str:
        return self.node("Cast", [value], to=getattr(self._onnx.TensorProto, kind))

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], outputs: int, names: Any = None, **attributes: Any
    ) -> List[str]:
        names = names or [self._new(operator) for _ in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return list(names)

    def serialized(self, labels: int) -> bytes:
        helper = self._onnx.helper
        output = helper.make_tensor_value_info(EMISSIONS, self._onnx.TensorProto.FLOAT, ["B", "T", labels])
        graph = helper.make_graph(
            self._nodes, "structkd_tagger", list(self._inputs.values()), [output], initializer=self._weights
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="structkd_plugin",
        )
        self._onnx.checker.check_model(model, full_check=True)
        serialized: bytes = model.SerializeToString(deterministic=True)
        return serialized

    def _new(self, start: str) -> str:
        self._count += 1
        return f"{start.lower()}_{self._count}"


def _by_gate(table: torch.Tensor, kind: str) -> np.ndarray:
    """A table of torch, gates below each other, in the order that ONNX has them in."""
    gates = table.detach().cpu().float().numpy()
    rows = np.split(gates, len(_GATES[kind]))
    return np.concatenate([rows[gate] for gate in _GATES[kind]])


def sizes_of_windows(model: Any) -> Mapping[str, int]:
    """For each character encoder by its key the characters that a word must at least be padded to."""
    found = {}
    for key, part in model.text_field_embedder._token_embedders.items():
        if type(part) is TokenCharactersEncoder and type(part._encoder._module) is CnnEncoder:
            found[key] = max(part._encoder._module._ngram_filter_sizes)
    return found
