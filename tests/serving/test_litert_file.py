"""The graph for LiteRT, in its interpreter."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import CASES, LINES, M, by_lines, lanes, small, vector_inputs

from tagnet.models.parts import is_order_sensitive
from tagnet.serving.litert_file import write_litert

DEFAULT = [("ltwin_kernel", "id"), ("lzip", "w2v")]


def interpreter(path):
    with pytest.warns(UserWarning, match="use the LiteRT interpreter from the ai_edge_litert"):
        return tf.lite.Interpreter(str(path))


@pytest.mark.parametrize(("arch", "feed"), lanes(CASES, DEFAULT))
def test_answers_as_the_graph(arch, feed, tmp_path):
    """Of built-in operations: the interpreter refuses a graph with any other."""
    core = small(arch, feed)
    neighbours = M if is_order_sensitive(core) else M + 3
    write_litert(core, LINES, neighbours, tmp_path / "model.tflite")
    serve = interpreter(tmp_path / "model.tflite").get_signature_runner("serving_default")
    for count in (1, 5):  # the batch is free
        ids, vectors = vector_inputs(core, count=count, neighbours=neighbours)
        answer = serve(**vectors)
        expected = core(ids).numpy()
        np.testing.assert_allclose(answer["scores"], expected, atol=1e-4)
        np.testing.assert_allclose(answer["probabilities"], by_lines(expected), atol=1e-4)
