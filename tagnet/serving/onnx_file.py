"""The graph of a model as ONNX, written block by block: one file for every ONNX runtime.

A tensor is a name here. B and K are free, as in `portable.py`, and tags are vectors.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import keras
import numpy as np

import tagnet
from tagnet.errors import InputError
from tagnet.evaluation.calibration import Lines
from tagnet.models.architectures import ARCHITECTURES
from tagnet.models.blocks import LENGTH, PIXEL_SHARE, TAG_SHARE, TINY, Blocks
from tagnet.serving.portable import vector_fed
from tagnet.settings import GraphSettings
from tagnet.system.files import atomic_write

OPSET, IR_VERSION = 17, 8  # of 2022: runtimes of today and of some years ago have them
OUTPUTS = ("scores", "probabilities")


class OnnxBlocks:
    """The blocks of `blocks.Blocks`, of ONNX operators.

    Args:
        settings: of a graph whose tags are vectors.
        weights: a layer's arrays by the layer's name, in Keras' order.

    Attributes:
        nodes: the operators so far, in order.
        constants: the arrays that they read, by name.
        inputs: the sizes of the inputs that they read, by name; free ones have letters.
    """

    def __init__(self, settings: GraphSettings, weights: Mapping[str, list[np.ndarray]]) -> None:
        self.settings = settings
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, tuple[int | str, ...]] = {}
        self._weights = weights
        self._helper = _onnx().helper

    @property
    def phi_x(self) -> str:
        """φ_x [B, D]."""
        return self._input("phi_x", "B", self.settings.feature_dim)

    @property
    def phi_z(self) -> str:
        """φ_z [B, K, D]."""
        return self._input("phi_z", "B", "K", self.settings.feature_dim)

    @property
    def pi_x(self) -> str:
        """π_x [B, n]."""
        return self._input("pi_x", "B", self.settings.tag_dim)

    @property
    def pi_z(self) -> str:
        """π_z [B, K, n]."""
        return self._input("pi_z", "B", "K", self.settings.tag_dim)

    def unit_root(self, phi: str) -> str:
        """Signed square roots of φ [..., D], brought to the length 20."""
        size = self.add("Abs", phi)
        length = self.add("Sqrt", self.add("Max", self._sum_last(size), self.number(TINY)))
        return self.add("Mul", self._root(phi), self.add("Div", self.number(LENGTH), length))

    def _root(self, phi: str) -> str:
        return self.add("Mul", self.add("Sign", phi), self.add("Sqrt", self.add("Abs", phi)))

    def _sum_last(self, vectors: str) -> str:
        return self.add("ReduceSum", vectors, self.numbers(-1))

    def fc(self, weights: str, *inputs: str) -> str:
        """σ(W [inputs] + b)."""
        return self.add("Relu", self._dense(weights, *inputs))

    def max(self, neighbours: str) -> str:
        """As `KerasBlocks.max`: [B, K, h] → [B, h]."""
        count = self.add("Gather", self.add("Shape", neighbours), self.number(1, np.int64), axis=0)
        one_count = self.add("Unsqueeze", count, self.numbers(0))
        ranked = self.add("TopK", neighbours, one_count, axis=1, outputs=2)  # and their places
        weighted = self.add("Mul", ranked, self._subset_max_weights(count))
        return self.add("ReduceSum", weighted, self.numbers(1), keepdims=0)

    def _subset_max_weights(self, count: str) -> str:
        """w_k = C(K − k, m − 1) / C(K, m), [K, 1]."""
        add, number = self.add, self.number
        total = add("Cast", count, to=1)  # float32
        m = add("Min", total, number(self.settings.m))
        spare = add("Add", add("Sub", total, m), number(1))  # K − m + 1
        left = add("Sub", total, add("Range", number(0), total, number(1)))  # K − k + 1
        factors = add("Div", add("Sub", left, add("Sub", m, number(1))), left)
        factors = add("Max", factors, number(0))
        # Opset 17 has no product of all before; the logarithm of 0 is −∞, whose exponential is 0.
        products = add("Exp", add("CumSum", add("Log", factors), number(0, np.int64)))
        weights = add("Mul", products, add("Div", m, spare))
        return add("Unsqueeze", weights, self.numbers(1))

    def rnn(self, weights: str, steps: str) -> str:
        """The last state of a linear LSTM over steps [B, K, n]: [B, h]."""
        kernel, recurrent, bias = self._weights[weights]
        units = len(recurrent)
        given = (
            self.constant(f"{weights}/kernel", _by_gate(kernel).T[None]),
            self.constant(f"{weights}/recurrent_kernel", _by_gate(recurrent).T[None]),
            self.constant(f"{weights}/bias", np.append(_by_gate(bias), 0 * bias)[None]),
        )
        state = self.add(
            "LSTM",
            self.add("Transpose", steps, perm=[1, 0, 2]),
            *given,
            outputs=2,  # of all steps, and the last
            place=1,
            hidden_size=units,
            activations=["Sigmoid", "Affine", "Affine"],
            activation_alpha=[1.0, 1.0],  # of the two that have them: the identity
            activation_beta=[0.0, 0.0],
        )
        return self.add("Squeeze", state, self.numbers(0))

    def drop(self, vector: str) -> str:
        """Nothing is dropped where nothing is trained."""
        return vector

    def scores(self, weights: str, *vectors: str) -> str:
        """W [vectors] + b."""
        return self._dense(weights, *vectors)

    def kernel_scores(self, weights: str) -> str:
        """W κ + b; see `blocks.Blocks.kernel_scores`."""
        add, number = self.add, self.number
        size = add("Abs", self.phi_x)
        products = self._dense(f"{weights}x", self._root(self.phi_x))
        ends = self.numbers(self.settings.references)
        cosines = add("Slice", products, self.numbers(0), ends, self.numbers(1))
        rest = add("Slice", products, ends, self.numbers(2**31 - 1), self.numbers(1))
        squared = add("Add", self._sum_last(size), rest)
        length = add("Sqrt", add("Max", squared, number(TINY)))
        cosine = add("Clip", add("Div", cosines, length), number(-1), number(1))
        pixels = add("Exp", add("Mul", number(2), add("Sub", cosine, number(1))))
        square = self._sum_last(add("Mul", self.pi_x, self.pi_x))
        unit = add("Div", self.pi_x, add("Sqrt", add("Max", square, number(TINY))))
        tags = add("Mul", number(TAG_SHARE), self._product(f"{weights}u", unit))
        return self._dense(weights, add("Add", add("Mul", number(PIXEL_SHARE), pixels), tags))

    def mean(self, *paths: str) -> str:
        """The mean of several paths' logits."""
        return self.add("Mean", *paths)

    def stack(self, *vectors: str) -> str:
        """Vectors [B, h] as steps: [B, steps, h]."""
        steps = [self.add("Unsqueeze", vector, self.numbers(1)) for vector in vectors]
        return self.add("Concat", *steps, axis=1)

    def zip(self, first: str, *neighbours: str) -> str:
        """The steps `first`, then each neighbour's vectors in turn: [B, s + 2K, h]."""
        parts = [self.add("Unsqueeze", vectors, self.numbers(2)) for vectors in neighbours]
        shape = self.numbers(0, -1, self.settings.hidden)  # 0: B stays
        steps = self.add("Reshape", self.add("Concat", *parts, axis=2), shape)
        return self.add("Concat", first, steps, axis=1)

    def rnn_scores(self, weights: str, steps: str) -> str:
        """The last state of a linear LSTM of L units."""
        return self.rnn(weights, steps)

    def add(
        self,
        kind: str,
        *given: str,
        name: str | None = None,
        outputs: int = 1,
        place: int = 0,
        **values: Any,
    ) -> str:
        """Adds an operator.

        Args:
            kind: what ONNX calls it.
            given: what it reads.
            name: of its only output; None for any.
            outputs: how many it has.
            place: which of them is wanted.
            values: its attributes.

        Returns:
            The name of the output.
        """
        names = [name or f"{kind}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(self._helper.make_node(kind, list(given), names, **values))
        return names[place]

    def constant(self, name: str, array: np.ndarray) -> str:
        """An array that operators read."""
        self.constants[name] = array
        return name

    def number(self, value: float, dtype: type = np.float32) -> str:
        """A number."""
        return self.constant(f"{np.dtype(dtype).name} {value}", np.array(value, dtype))

    def numbers(self, *values: int) -> str:
        """Whole numbers: axes, or a shape."""
        return self.constant(f"int64 {list(values)}", np.array(values, np.int64))

    def _dense(self, weights: str, *inputs: str) -> str:
        bias = self.constant(f"{weights}/bias", self._weights[weights][1])
        joined = inputs[0] if len(inputs) == 1 else self.add("Concat", *inputs, axis=-1)
        return self.add("Add", self._product(weights, joined), bias)

    def _product(self, weights: str, vectors: str) -> str:
        kernel = self.constant(f"{weights}/kernel", self._weights[weights][0])
        return self.add("MatMul", vectors, kernel)

    def _input(self, name: str, *shape: int | str) -> str:
        self.inputs[name] = shape
        return name


def _by_gate(columns: np.ndarray) -> np.ndarray:
    """An LSTM's columns [..., 4h] from Keras' order (i, f, g, o) to ONNX' (i, o, f, g)."""
    i, f, g, o = np.split(columns, 4, axis=-1)
    return np.concatenate([i, o, f, g], axis=-1)


def write_onnx(core: keras.Model, lines: Lines, path: Path) -> None:
    """Writes a graph as ONNX, from vectors to `scores` and `probabilities` [B, L].

    Args:
        core: of `architectures.build`.
        lines: what makes probabilities of its scores.
        path: the file.

    Raises:
        InputError: the package `onnx` is not installed.
    """
    onnx = _onnx()
    blocks = OnnxBlocks(
        vector_fed(core.graph_settings),
        {layer.name: layer.get_weights() for layer in core.layers},
    )
    logits = ARCHITECTURES[core.name](cast(Blocks, blocks))  # names in place of tensors
    scaled = blocks.add("Mul", logits, blocks.constant("slope", lines.slope))
    calibrated = blocks.add("Add", scaled, blocks.constant("offset", lines.offset))
    blocks.add("Identity", logits, name="scores")
    blocks.add("Sigmoid", calibrated, name="probabilities")
    model = _model(onnx, core.name, blocks)
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _model(onnx: ModuleType, arch: str, blocks: OnnxBlocks) -> Any:
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    described = helper.make_tensor_value_info
    graph = helper.make_graph(
        blocks.nodes,
        arch,
        [described(name, number, shape) for name, shape in blocks.inputs.items()],
        [described(output, number, ("B", blocks.settings.num_labels)) for output in OUTPUTS],
        [onnx.numpy_helper.from_array(array, key) for key, array in blocks.constants.items()],
    )
    return helper.make_model(
        graph,
        producer_name="tagnet",
        producer_version=tagnet.__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def _onnx() -> ModuleType:
    """The package, which is an extra."""
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            "--format=onnx needs the package onnx, which is not installed; "
            "pip install 'tagnet[onnx]'"
        ) from error
    return onnx
