"""What TensorBoard is given beside the numbers of a run."""

import keras
import pytest
import tensorflow as tf
from helpers.graphs import CASES, lanes, small
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tagnet.training import tensorboard


@pytest.mark.parametrize(("arch", "feed"), lanes(CASES, [("ltwin_rnn", "w2v"), ("lzip", "id")]))
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_layer_graph_has_every_layer_and_its_type(arch, feed, policy, tmp_path, capfd):
    keras.config.set_dtype_policy(policy)
    try:
        model = small(arch, feed)
    finally:
        keras.config.set_dtype_policy("float32")
    capfd.readouterr()
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        tensorboard.write_graph(model)
    assert "Unsupported" not in capfd.readouterr().err
    events = EventAccumulator(str(tmp_path)).Reload()
    types = {node.name: node.attr["dtype"].type for node in events.Graph().node}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            assert tf.as_dtype(types[layer.name]).name == layer.compute_dtype
