"""Weights as PyTorch and Caffe write them, without either."""

import pickle
import struct
import sys
import types

import numpy as np

from tagnet.backbones.weights import _caffe_message

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BIAS = np.array([0.5, -2], np.float32)


class Stored:
    """A storage as a `.pth` file names it."""

    def __init__(self, kind, key, numbers):
        self.kind, self.key, self.numbers = kind, key, numbers


class Tensor:
    """Pickles like PyTorch's: a call of `_rebuild_tensor_v2` with a storage."""

    def __init__(self, rebuild, *arguments):
        self.rebuild, self.arguments = rebuild, arguments

    def __reduce__(self):
        return self.rebuild, (*self.arguments, False, None)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Stored):
            return ("storage", obj.kind, obj.key, "cpu", len(obj.numbers), None)
        return None


def torch_modules(monkeypatch):
    """Modules of the names that the pickles must mention; PyTorch itself is not needed."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage", "DoubleStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise AssertionError("only its name is pickled")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    vars(utils)["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    vars(torch)["_utils"] = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def write_pth(path, tensors, storages=(), magic=0x1950A86A20F9469CFC6C):
    """Writes PyTorch's format before 1.6, whose description `read_torch_weights` has."""
    with open(path, "wb") as file:
        keys = [storage.key for storage in storages]
        chain: list[object] = [magic, 1001, {}, tensors, keys]
        for value in chain:
            Pickler(file, 2).dump(value)
        for storage in storages:
            file.write(struct.pack("<q", len(storage.numbers)) + storage.numbers.tobytes())


def caffemodel(shaped: bool, field: str) -> bytes:
    """A network of a data layer without blobs and conv1, in the present format or V1."""
    network = _caffe_message("NetParameter")()
    getattr(network, field).add(name="data")
    layer = getattr(network, field).add(name="conv1")
    for array in (KERNEL, BIAS):
        blob = layer.blobs.add(data=array.ravel().tolist())
        if shaped:
            blob.shape.dim.extend(array.shape)
        else:
            shape = [1] * (4 - array.ndim) + list(array.shape)
            blob.num, blob.channels, blob.height, blob.width = shape
    return network.SerializeToString()
