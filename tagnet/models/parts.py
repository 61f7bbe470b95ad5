"""Finds which layer of a model does what, from the model's own graph.

Scoring, serving and explanations cut a model in two: what depends on one image alone, and what
fuses an image with its neighbours. This file is the only one that knows where the cut is, and it
finds it by how layers are connected, not by their names. So a new architecture needs no more than
its function in `architectures.py`.

    phi_x, pi_x ──▶ image layers ────────────────┐
    phi_z, pi_z ──▶ neighbour layers ──▶ pooling ─┴─▶ head ──▶ scores
                                      cut
"""

import dataclasses
from collections.abc import Iterator, Sequence

import keras
from keras import KerasTensor, Operation

from tagnet.models.layers import MaxOverNeighbours, Zip

POOLING = (MaxOverNeighbours, keras.layers.LSTM)


@dataclasses.dataclass(frozen=True)
class Path:
    """How a path's logits are computed: Dense(`layer`) of the vectors of `joined`.

    Attributes:
        layer: the name of the layer that gives the logits.
        joined: the image and neighbour layers whose (pooled) outputs it joins, in order; empty
            where it reads the inputs themselves.
    """

    layer: str
    joined: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a model.

    Attributes:
        image: names of the layers before the cut that read the image; each runs once an image.
            These and the next in the order in which what follows reads them.
        neighbour: names of those that read its neighbours; each runs once a neighbour.
        poolings: for each of `neighbour` the name of the layer that pools its output; None in all
            places where one LSTM reads image and neighbours alike, which is then `zipped`.
        zipped: the name of that LSTM.
        reads: for each of `image` and `neighbour` the names of the inputs that it reads.
        paths: what the scores are the mean of, one that counts twice two times; empty where an
            LSTM is involved, whose scores cannot be split.
    """

    image: tuple[str, ...]
    neighbour: tuple[str, ...]
    poolings: tuple[str | None, ...]
    zipped: str | None
    reads: dict[str, tuple[str, ...]]
    paths: tuple[Path, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers before the cut."""
        return (*self.image, *self.neighbour)

    @classmethod
    def of(cls, model: keras.Model) -> "Parts":
        """Finds the parts of a model.

        Args:
            model: of `architectures.build`.

        Raises:
            ValueError: the model cannot be cut: something behind the pooling reads an input.
        """
        return _Reading(model).parts()


def outputs(model: keras.Model, names: Sequence[str]) -> list[KerasTensor]:
    """The outputs of the layers with these names."""
    return [model.get_layer(name).output for name in names]


def is_order_sensitive(model: keras.Model) -> bool:
    """Whether a model reads its neighbours one by one (LSTM) rather than as a set."""
    return any(isinstance(layer, keras.layers.LSTM) for layer in model.layers)


def with_path_outputs(model: keras.Model) -> keras.Model:
    """The model with one output per path, as it is trained.

    Args:
        model: of `architectures.build`.

    Returns:
        For a model whose scores are the mean of paths, one of the same layers to the logits of
        each of the P that training changes, [B, L, P], or of the only one, [B, L]; any other
        model as it is.
    """
    paths = list({id(path): path for path in _paths(model)}.values())
    if len(paths) == 1:
        return model
    fixed = [layer.output for layer in fixed_paths(model)]
    trained = [path for path in paths if all(path is not output for output in fixed)]
    logits = trained[0] if len(trained) == 1 else keras.ops.stack(trained, axis=2)
    return keras.Model(model.input, logits, name=model.name)


def fixed_paths(model: keras.Model) -> list[keras.Layer]:
    """The layers that give the logits of paths whose weights no step of the optimizer changes.

    They are fitted beforehand, see `training.references`.
    """
    outputs_of = {id(layer.output): layer for layer in model.layers if layer.weights}
    layers = dict.fromkeys(outputs_of.get(id(path)) for path in _paths(model))
    return [layer for layer in layers if layer is not None and not layer.trainable_weights]


def _paths(model: keras.Model) -> list[KerasTensor]:
    """The logits of each path, as often as it counts; one where the model takes no mean."""
    (last,) = (operation for operation in model.operations if operation.output is model.output)
    return list(last.input) if isinstance(last, keras.layers.Average) else [model.output]


class _Reading:
    """The graph of a model, walked from its output to its inputs."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._made_by = {
            id(output): operation
            for operation in model.operations
            for output in keras.tree.flatten(operation.output)
        }
        self._inputs = {id(tensor): tensor.name for tensor in model.inputs}

    def parts(self) -> Parts:
        # Before the cut stand the last layers with weights that read one side alone.
        cut: dict[str, tuple[str, ...]] = {}
        self._find_cut(self._model.output, cut)
        image = tuple(name for name in cut if _side(cut[name]) == "x")
        neighbour = tuple(name for name in cut if _side(cut[name]) == "z")
        poolings = tuple(self._pooling(name) for name in neighbour)
        zipped = None
        if None in poolings:
            poolings = (None,) * len(poolings)
            zipped = self._zipping()
        paths = () if is_order_sensitive(self._model) else map(self._path, _paths(self._model))
        return Parts(image, neighbour, poolings, zipped, cut, tuple(paths))

    def _find_cut(self, tensor: KerasTensor, cut: dict[str, tuple[str, ...]]) -> None:
        """Adds the layers before the cut that `tensor` depends on, with the inputs they read."""
        if id(tensor) in self._inputs:
            raise ValueError(
                f"{self._model.name}: every input must pass through a layer of its own before "
                f"image and neighbours meet; {tensor.name} does not"
            )
        operation = self._made_by[id(tensor)]
        reads = tuple(dict.fromkeys(self._reached(operation)))
        if _has_kernel(operation) and _side(reads) is not None:
            cut[operation.name] = reads
            return
        for given in _given(operation):
            self._find_cut(given, cut)

    def _reached(self, operation: Operation) -> Iterator[str]:
        """The names of the inputs that an operation depends on."""
        for tensor in _given(operation):
            if id(tensor) in self._inputs:
                yield self._inputs[id(tensor)]
            else:
                yield from self._reached(self._made_by[id(tensor)])

    def _readers(self, name: str) -> list[Operation]:
        """The operations that read a layer's output, dropout left out."""
        found = []
        output = self._model.get_layer(name).output
        for operation in self._model.operations:
            if any(tensor is output for tensor in _given(operation)):
                passed = isinstance(operation, keras.layers.Dropout)
                found += self._readers(operation.name) if passed else [operation]
        return found

    def _pooling(self, name: str) -> str | None:
        """The layer that pools a neighbour layer's output and nothing else."""
        (reader,) = self._readers(name)
        alone = isinstance(reader, POOLING) and len(_given(reader)) == 1
        return reader.name if alone else None

    def _zipping(self) -> str:
        """The LSTM that reads the image's vectors and then, zipped, each neighbour's."""
        names = [
            layer.name
            for layer in self._model.layers
            if isinstance(layer, keras.layers.LSTM)
            and any(
                isinstance(self._made_by.get(id(tensor)), Zip)
                for tensor in _given(self._made_by[id(layer.input)])
            )
        ]
        if len(names) != 1:
            raise ValueError(
                f"{self._model.name}: each neighbour layer must be pooled by max or an LSTM, or "
                "all of them must be zipped into one LSTM"
            )
        return names[0]

    def _path(self, logits: KerasTensor) -> Path:
        """How a path's logits are computed."""
        operation = self._made_by[id(logits)]
        reads = tuple(self._reached(operation))
        joined = () if _side(reads) == "x" else tuple(self._joined(operation))
        return Path(operation.name, joined)

    def _joined(self, operation: Operation) -> Iterator[str]:
        """The layers before the cut whose outputs an operation joins, in order."""
        for tensor in _given(operation):
            maker = self._made_by[id(tensor)]
            if _has_kernel(maker):
                yield maker.name
            else:
                yield from self._joined(maker)


def _side(reads: Sequence[str]) -> str | None:
    """The side that inputs belong to: `x` (the image), `z` (the neighbours); None for both."""
    sides = {name[-1] for name in reads}
    return sides.pop() if len(sides) == 1 else None


def _given(operation: Operation) -> list[KerasTensor]:
    return keras.tree.flatten(operation.input)


def _has_kernel(operation: Operation) -> bool:
    """Whether an operation is a dense layer: it acts on every image or neighbour by itself."""
    return hasattr(operation, "kernel")
