"""Image encoders of a few numbers as ONNX files, and the settings that lie beside them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
PLAIN = {"size": 2, "do_normalize": False, "resample": 2}  # squeezed to 2 × 2, divided by 255


def constant(name: str, values: Sequence[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


# What each output is made of, given images [N, 3, H, W]; `dims` of its shape.
NODES = {
    "mean": ([helper.make_node("ReduceMean", ["x", "space"], ["mean"], keepdims=0)], ["n", 3]),
    "flat": ([helper.make_node("Flatten", ["x"], ["flat"])], ["n", "pixels"]),
    "map": ([helper.make_node("Relu", ["x"], ["map"])], ["n", 3, "h", "w"]),
    "tokens": (
        [
            helper.make_node("Reshape", ["x", "tokens_first"], ["three"]),
            helper.make_node("Transpose", ["three"], ["tokens"], perm=[0, 2, 1]),
        ],
        ["n", "t", 3],
    ),
    "logarithm": (
        [
            helper.make_node("Flatten", ["x"], ["flattened"]),
            helper.make_node("Log", ["flattened"], ["logarithm"]),
        ],
        ["n", "pixels"],
    ),
    "first": (
        [
            helper.make_node("Flatten", ["x"], ["all"]),
            helper.make_node("Slice", ["all", "zero", "six", "one"], ["first"]),
        ],
        ["n", 6],
    ),
    "whole": ([helper.make_node("ReduceMean", ["x"], ["whole"], keepdims=0)], []),
}
CONSTANTS = {"space": [2, 3], "tokens_first": [0, 3, -1], "zero": [0], "six": [6], "one": [1]}


def write_encoder(
    path: Path,
    *outputs: str,
    shape: Sequence[int | str | None] = ("n", 3, "h", "w"),
    kind: int = TensorProto.FLOAT,
    inputs: Sequence[str] = ("pixel_values",),
    beside: dict | None = PLAIN,
) -> Path:
    """Writes an encoder whose outputs are of `NODES`, and its settings beside it.

    Args:
        path: of the file.
        outputs: keys of `NODES`.
        shape: of the images; those with three channels last are turned around first.
        kind: of their numbers.
        inputs: the first is the images, others are not read.
        beside: what `preprocessor_config.json` says; None writes none.
    """
    last = shape[-1] == 3
    turn = helper.make_node("Transpose", [inputs[0]], ["x"], perm=[0, 3, 1, 2])
    nodes = [turn if last else helper.make_node("Identity", [inputs[0]], ["x"])]
    for output in outputs:
        nodes += NODES[output][0]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, kind, NODES[name][1]) for name in outputs],
        [constant(name, values) for name, values in CONSTANTS.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    if beside is not None:
        (path.parent / "preprocessor_config.json").write_text(json.dumps(beside))
    return path
