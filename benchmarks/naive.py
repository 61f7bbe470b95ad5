"""The graphs as a good Keras user would write them from their equations: the yardstick.

Plain Keras throughout: a batch carries the features and the multi-hot tags of the image
and of its m neighbours, every layer is one of Keras', `model.fit` trains and
`model.predict` scores sampled neighbourhoods, whole graph and all. The layers have the
names of `tagnet.models.architectures`, so weights can be handed over by name.

The tables are in memory, packing a batch is a gather in `tf.data` that runs ahead of the
step: nothing is slow on purpose.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tagnet.data.tables import Tables
from tagnet.data.tags import TagLists
from tagnet.settings import GraphSettings

PREDICT_BATCH = 256


def build(arch: str, settings: GraphSettings) -> keras.Model:
    """A graph, from `phi_x` [B, D], `phi_z` [B, m, D], `pi_x`, `pi_z` to logits.

    Args:
        arch: its name in `tagnet.models.architectures`.
        settings: sizes and regularisation; π is dense, [B, n] or [B, m, n], for `id` too.

    Returns:
        The graph; of one with several paths to the logits of each, [B, L, P].
    """
    m, dim, n = settings.m, settings.feature_dim, settings.tag_dim
    phi_x, phi_z = keras.Input((dim,), name="phi_x"), keras.Input((m, dim), name="phi_z")
    pi_x, pi_z = keras.Input((n,), name="pi_x"), keras.Input((m, n), name="pi_z")
    l2 = keras.regularizers.L2(settings.l2)

    def hidden(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        dense = layers.Dense(settings.hidden, "relu", kernel_regularizer=l2, name=name)
        return dense(x)

    def over_neighbours(z: keras.KerasTensor, name: str) -> keras.KerasTensor:
        dense = layers.Dense(settings.hidden, "relu", kernel_regularizer=l2)
        return layers.TimeDistributed(dense, name=name)(z)

    def lstm(steps: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
        penalties = {"kernel_regularizer": l2, "recurrent_regularizer": l2}
        return layers.LSTM(units, activation="linear", name=name, **penalties)(steps)

    def drop(vector: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Dropout(settings.dropout)(vector)

    def scores(*vectors: keras.KerasTensor) -> keras.KerasTensor:
        joined = layers.Concatenate()(vectors)
        return layers.Dense(settings.num_labels, kernel_regularizer=l2, name="W_y")(joined)

    if arch == "v_only":
        logits = layers.Dense(settings.num_labels, kernel_regularizer=l2, name="W_u")(phi_x)
        return keras.Model([phi_x], logits)
    image = layers.Concatenate()([phi_x, pi_x]) if arch.startswith("ltn_") else phi_x
    neighbours = layers.Concatenate()([phi_z, pi_z]) if arch == "ltn_allvecs" else phi_z
    v_x, v_z = hidden(image, "W_x"), over_neighbours(neighbours, "W_z")
    if arch.startswith("ltn"):
        inputs = {"ltn": [phi_x, phi_z], "ltn_vecs": [phi_x, phi_z, pi_x]}
        logits = scores(drop(v_x), drop(layers.GlobalMaxPooling1D()(v_z)))
        return keras.Model(inputs.get(arch, [phi_x, phi_z, pi_x, pi_z]), logits)
    if arch == "rtn":
        logits = scores(drop(v_x), drop(lstm(v_z, settings.hidden, "W_RNN")))
        return keras.Model([phi_x, phi_z], logits)
    u_x, u_z = hidden(pi_x, "W_xu"), over_neighbours(pi_z, "W_zu")
    if arch == "lzip":
        first = keras.ops.stack([drop(v_x), drop(u_x)], axis=1)
        pairs = keras.ops.stack([drop(v_z), drop(u_z)], axis=2)  # [B, m, 2, h]
        steps = layers.Concatenate(axis=1)([first, layers.Reshape((2 * m, settings.hidden))(pairs)])
        return keras.Model([phi_x, phi_z, pi_x, pi_z], lstm(steps, settings.num_labels, "W_RNN"))
    if arch == "ltwin":
        pooled = [layers.GlobalMaxPooling1D()(v_z), layers.GlobalMaxPooling1D()(u_z)]
    else:
        pooled = [lstm(v_z, settings.hidden, "W_RNN"), lstm(u_z, settings.hidden, "W_oRNN")]
    vectors = [drop(vector) for vector in (v_x, pooled[0], u_x, pooled[1])]
    if arch == "ltwin_2rnn":
        logits = lstm(keras.ops.stack(vectors, axis=1), settings.num_labels, "W_fRNN")
    else:
        logits = scores(*vectors)
    return keras.Model([phi_x, phi_z, pi_x, pi_z], logits)


class Packer:
    """Packs what a graph reads into batches: features and dense π of images and neighbours.

    Args:
        tables: Φ and π of all images; lists of tags become a multi-hot table of bytes.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = {"phi": tf.constant(tables.phi)}
        if isinstance(tables.pi, TagLists):
            self._tables["pi"] = tf.constant(_multi_hot(tables.pi, tables.num_tags))
        elif tables.pi is not None:
            self._tables["pi"] = tf.constant(tables.pi)

    def batches(
        self,
        model: keras.Model,
        rows: np.ndarray,
        neighbours: np.ndarray,
        labels: np.ndarray | None,
        batch_size: int,
    ) -> tf.data.Dataset:
        """Streams the images `rows` [n] with their `neighbours` [n, m] and `labels` [n, L]."""
        names = [tensor.name for tensor in model.inputs]

        def pack(of: dict[str, tf.Tensor], *labels: tf.Tensor) -> tuple:
            inputs = {
                name: tf.cast(tf.gather(self._tables[name[:-2]], of[name[-1]]), tf.float32)
                for name in names
            }
            return (inputs, *labels)

        columns = ({"x": rows, "z": neighbours}, *([] if labels is None else [labels]))
        examples = tf.data.Dataset.from_tensor_slices(columns)
        packed = examples.batch(batch_size).map(pack, num_parallel_calls=tf.data.AUTOTUNE)
        return packed.prefetch(tf.data.AUTOTUNE)


def _multi_hot(tags: TagLists, num_tags: int) -> np.ndarray:
    table = np.zeros([len(tags), num_tags], np.uint8)
    table[np.repeat(np.arange(len(tags)), tags.lengths), tags.ids] = 1
    return table


def compile_model(model: keras.Model, learning_rate: float = 1e-4) -> None:
    """Compiles with RMSProp and the cross-entropy summed over labels."""

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if len(logits.shape) == 3:  # a loss for each path
            labels = tf.repeat(labels[..., None], logits.shape[2], axis=2)
        entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        return tf.reduce_sum(entropies, axis=range(1, len(logits.shape)))

    model.compile(keras.optimizers.RMSprop(learning_rate), loss)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Hands the weights of a graph over to the graph of the same name, layer by layer."""
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def score(
    model: keras.Model, packer: Packer, rows: np.ndarray, neighbourhoods: np.ndarray
) -> np.ndarray:
    """Scores images by `model.predict` over sampled neighbourhoods (eq. 2).

    Args:
        model: a graph of `build`.
        packer: packs its batches.
        rows: int [n], the images.
        neighbourhoods: int [n, S, m], S neighbourhoods of each, as row numbers.

    Returns:
        The mean logits, float32 [n, L].
    """
    samples = [
        model.predict(
            packer.batches(model, rows, neighbourhoods[:, sample], None, PREDICT_BATCH), verbose=0
        )
        for sample in range(neighbourhoods.shape[1])
    ]
    logits = np.mean(samples, axis=0)
    return logits.mean(axis=2) if logits.ndim == 3 else logits
