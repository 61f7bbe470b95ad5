"""Reads published weights without their frameworks; files are parsed, never executed.

`.pth` of PyTorch, `.npz` of NumPy, `.caffemodel` of Caffe. The first is a pickle; the unpickler
here builds arrays and nothing else, whatever the file asks for.
"""

import functools
import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tagnet.errors import InputError, reason_of
from tagnet.system.files import read_arrays


def _contents(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


# --- PyTorch ----------------------------------------------------------------------------

_MAGIC = 0x1950A86A20F9469CFC6C  # first object of PyTorch's format before 1.6


def read_torch_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file in PyTorch's format before version 1.6.

    The file is a chain of pickles: a magic number, a version, the writer's machine,
    the dictionary of tensors, the list of storages; then the storages themselves,
    each an int64 length and its numbers. Only what such a file needs is unpickled.

    Args:
        path: the file.

    Returns:
        Read-only arrays by name.

    Raises:
        InputError: it is missing, cut off, another format, or asks for anything else.
    """
    file = io.BytesIO(_contents(path))
    storages: dict[str, np.ndarray] = {}
    try:
        if (magic := _TensorUnpickler(file, storages).load()) != _MAGIC:
            raise ValueError(f"the first number must be {_MAGIC}, received {magic!r}")
        _version, _machine, tensors, keys = (
            _TensorUnpickler(file, storages).load() for _ in range(4)
        )
        for key in keys:
            length = np.frombuffer(file.read(8), "<i8").item()
            if length != len(storages[key]):
                raise ValueError(f"storage {key} must have {len(storages[key])} numbers")
            data = file.read(storages[key].nbytes)
            storages[key][:] = np.frombuffer(data, storages[key].dtype, length)
        return dict(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # random bytes can make an unpickler raise anything
        raise InputError(f"{path}: is not a valid PyTorch weight file ({error})") from error


class _RebuildTensor:
    """Replaces PyTorch's function; has no attributes that a pickle could set."""

    __slots__ = ()

    def __call__(
        self,
        storage: np.ndarray,
        offset: int,
        shape: Sequence[int],
        strides: Sequence[int],
        *_: Any,
    ) -> np.ndarray:
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if min((offset, *strides)) < 0 or min(shape, default=1) < 1 or last >= len(storage):
            raise ValueError(f"a tensor {list(shape)} reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            storage[offset:],
            tuple(shape),
            tuple(step * storage.itemsize for step in strides),
            writeable=False,
        )


class _TensorUnpickler(pickle.Unpickler):
    """Builds dictionaries of NumPy arrays and refuses anything else that a pickle asks for.

    Args:
        file: holds the pickle.
        storages: gets an array for each storage that the pickle names; the tensors
            are views of them, so filling the storages fills the tensors.
    """

    allowed: ClassVar[dict[str, Any]] = {
        "collections.OrderedDict": OrderedDict,
        "torch._utils._rebuild_tensor_v2": _RebuildTensor(),
        "torch.FloatStorage": "<f4",  # an inert string in place of the class
        "torch.LongStorage": "<i8",
    }

    def __init__(self, file: io.BytesIO, storages: dict[str, np.ndarray]) -> None:
        super().__init__(file)
        self._file = file
        self._limit = len(file.getbuffer())
        self._storages = storages

    def load(self) -> Any:
        """Unpickles, after refusing what would take more memory than the file accounts for."""
        begin = self._file.tell()
        for opcode, argument, position in pickletools.genops(self._file):
            numbers = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
            if numbers and (argument or 0) > (position or 0):
                raise ValueError(f"object {argument} of a pickle with fewer")
        self._file.seek(begin)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        if (wanted := f"{module}.{name}") not in self.allowed:
            raise InputError(
                f"asks for {wanted!r}; a weight file may ask for {sorted(self.allowed)}"
            )
        return self.allowed[wanted]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _kind, dtype, key, _location, length, _view = pid
        if dtype not in ("<f4", "<i8") or not 0 <= length * np.dtype(dtype).itemsize <= self._limit:
            raise ValueError(f"storage {key} is not one of floats or longs within the file")
        return self._storages.setdefault(key, np.zeros(length, dtype))


# --- Caffe ------------------------------------------------------------------------------


def read_caffe_weights(path: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads the weights and biases of a network's layers, in their stored layout.

    `.caffemodel`: Caffe's own, of the present format or the one before it (V1).
    `.npz`: arrays LAYER_weights and LAYER_biases.

    Args:
        path: the file, whose ending says what it is.

    Returns:
        (weights, biases) by layer.

    Raises:
        InputError: it is missing, cut off, or another format.
    """
    path = Path(path)
    if path.suffix == ".npy":
        raise InputError(
            f"{path}: pickled .npy files are not supported; save the arrays with np.savez "
            "as LAYER_weights and LAYER_biases"
        )
    if path.suffix not in _CAFFE_READERS:
        raise InputError(f"{path}: Caffe weights must end in {', '.join(_CAFFE_READERS)}")
    try:
        return _CAFFE_READERS[path.suffix](path)
    except InputError as error:
        line = str(error)
        raise InputError(line if line.startswith(str(path)) else f"{path}: {line}") from error
    except Exception as error:  # a damaged file fails in whatever way its bytes suggest
        reason = reason_of(error)
        raise InputError(f"{path}: is not a valid file of layer weights ({reason})") from error


def _read_npz(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    arrays = read_arrays(path)
    layers = [name.removesuffix("_weights") for name in arrays if name.endswith("_weights")]
    return {name: (arrays[f"{name}_weights"], arrays[f"{name}_biases"]) for name in layers}


def _read_caffemodel(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    network = _caffe_message("NetParameter")()
    network.ParseFromString(_contents(path))
    return {
        layer.name: (_array(layer.blobs[0]), _array(layer.blobs[1]))
        for layer in [*network.layer, *network.layers]
        if len(layer.blobs) == 2
    }


def _array(blob: Any) -> np.ndarray:
    """A blob as an array; those of V1 have four dimensions, of which biases need one."""
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return np.fromiter(blob.data, np.float32, len(blob.data)).reshape(shape)


_CAFFE_READERS = {".caffemodel": _read_caffemodel, ".npz": _read_npz}

# The fields of Caffe's messages that hold names and numbers; others are skipped.
_CAFFE_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "BlobShape": {"dim": (1, "int64*")},
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "float*"),
        "shape": (7, "BlobShape"),
    },
    "LayerParameter": {"name": (1, "string"), "blobs": (7, "BlobProto*")},
    "V1LayerParameter": {"name": (4, "string"), "blobs": (6, "BlobProto*")},
    "NetParameter": {"layers": (2, "V1LayerParameter*"), "layer": (100, "LayerParameter*")},
}


@functools.cache
def _caffe_message(name: str) -> Any:
    """The protocol-buffer class of one of `_CAFFE_FIELDS`."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in _CAFFE_FIELDS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            entry = described.field.add(name=field, number=number)
            entry.label = entry.LABEL_REPEATED if kind.endswith("*") else entry.LABEL_OPTIONAL
            if (plain := kind.rstrip("*")) in _CAFFE_FIELDS:
                entry.type, entry.type_name = entry.TYPE_MESSAGE, f".caffe.{plain}"
            else:
                entry.type = entry.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
