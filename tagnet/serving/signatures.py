"""The signatures of the SavedModel: what a server answers, using only TensorFlow.

`serving_default`    the graph's own tensors → scores and probabilities
`annotate_features`  Φ and tags as strings → ranked labels and the neighbours
`annotate_image`     JPEG or PNG bytes and tags → the same
`annotate_examples`  serialised `tf.train.Example` of `image` and `tags` → the same

The two that take images are there where the CNN can be part of the graph. All refuse numbers that
are not finite: a max-pool over rectified units would hide them behind a confident answer.

As an attribute, `serve` is what Keras' `TFSMLayer` calls: `serving_default`, given a dict.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from tagnet.backbones.catalogue import LITES
from tagnet.backbones.features import BACKBONES, Backbone
from tagnet.models.layers import PADDING
from tagnet.serving import pixels
from tagnet.serving.model import ServingModel
from tagnet.serving.tag_text import TagReader

TOP_LABELS = 10  # of an image, in an answer
# Backbones whose preparation is the central square and then this.
PREPARED: dict[str, Callable[[tf.Tensor], tf.Tensor]] = dict.fromkeys(
    LITES, lambda square: (square - 127) / 128
)
EXAMPLE = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "tags": tf.io.RaggedFeature(tf.string),
}

Answers = dict[str, tf.Tensor]


class Server(tf.Module):
    """A serving model with the operations that read strings and images.

    Args:
        deployment: the model.
        vocabulary: the file of its words, which becomes an asset.
    """

    def __init__(self, deployment: ServingModel, vocabulary: Path) -> None:
        super().__init__()
        self.model = deployment
        self.reader = TagReader(vocabulary, len(deployment.vocabulary))
        # One function, which the signatures share: it is traced and stored once.
        self._answer = _compiled(
            self._annotate,
            tf.TensorSpec([None, deployment.settings.graph.feature_dim], tf.float32, name="phi"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
        )
        self.serve = self._serve()
        self.cnn = Cnn.of(deployment)

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """The functions by name."""
        functions = {"serving_default": self.serve, "annotate_features": self._answer}
        if self.cnn is not None:
            functions["annotate_image"] = _compiled(
                lambda image, tags: self._answer(self._features(image), tags),
                tf.TensorSpec([None], tf.string, name="image"),
                tf.TensorSpec([None, None], tf.string, name="tags"),
            )
            functions["annotate_examples"] = _compiled(
                self._annotate_examples, tf.TensorSpec([None], tf.string, name="examples")
            )
        return functions

    def _serve(self) -> tf.types.experimental.PolymorphicFunction:
        core = self.model.core
        names = {tensor.name: input_name(tensor) for tensor in core.inputs}
        specs = {
            names[tensor.name]: tf.TensorSpec(tensor.shape, tensor.dtype, names[tensor.name])
            for tensor in core.inputs
        }

        def serve(inputs: dict[str, tf.Tensor]) -> Answers:
            checked = {name: _checked(inputs[given], given) for name, given in names.items()}
            scores = core(checked, training=False)
            return {"scores": scores, "probabilities": self.model.probabilities(scores)}

        return _compiled(serve, specs)

    def _annotate(self, phi: tf.Tensor, tags: tf.Tensor) -> Answers:
        """Answers with names instead of numbers.

        Returns:
            `labels` and `probabilities` [B, k], the most probable first; `neighbours`
            (names of images) and `distances` [B, M]; `by_features` [B].
        """
        answers = self.model.answer(_checked(phi, "phi"), self.reader.ids(tags))
        labels = self.model.settings.labels
        best = tf.math.top_k(answers["probabilities"], min(TOP_LABELS, len(labels)))
        return {
            "labels": tf.gather(tf.constant(labels), best.indices),
            "probabilities": best.values,
            "neighbours": tf.gather(self.model.corpus.image_ids, answers["neighbours"]),
            "distances": answers["distances"],
            "by_features": answers["by_features"],
        }

    def _annotate_examples(self, examples: tf.Tensor) -> Answers:
        parsed = tf.io.parse_example(examples, EXAMPLE)
        return self._answer(self._features(parsed["image"]), parsed["tags"].to_tensor(""))

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        """Φ of encoded images: string [B] → float32 [B, D]."""
        assert self.cnn is not None  # only signatures that exist with it call this
        size = self.cnn.size
        squares = tf.map_fn(
            lambda contents: pixels.central_square(pixels.decode(contents), size),
            images,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        )
        return self.cnn(squares)


class Cnn(tf.Module):
    """The CNN that Φ is of, as a part of a SavedModel.

    Args:
        backbone: one of `PREPARED`.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        network = backbone.build(backbone.weights)
        self.size = backbone.image_size
        self.weights = [weight.value for weight in network.weights]
        self._network = lambda squares: network(squares, training=False)
        self._prepared = PREPARED[backbone.name]

    @classmethod
    def of(cls, deployment: ServingModel) -> "Cnn | None":
        """The CNN of a model; None where it is not known or cannot be part of the graph."""
        name = deployment.settings.backbone
        return cls(BACKBONES[name]) if name in PREPARED else None

    def __call__(self, squares: tf.Tensor) -> tf.Tensor:
        """Φ of central squares, 0 to 255: [B, size, size, 3] → [B, D]."""
        return self._network(self._prepared(squares))


def input_name(tensor: keras.KerasTensor) -> str:
    """What `serving_default` calls an input of the model.

    Tags fed as ids are lists of row numbers in the vocabulary, padded with −1, not vectors.
    """
    is_ids = tensor.dtype.startswith("int")
    return tensor.name.replace("pi_", "tag_ids_") if is_ids else tensor.name


def _checked(values: tf.Tensor, name: str) -> tf.Tensor:
    """The same values; fails where features or vectors are not finite, or ids are repeated.

    A repeated id is a sign of a binary vector in place of a list of ids.
    """
    if values.dtype.is_floating:
        good = tf.reduce_all(tf.math.is_finite(values))
        rule = f"{name} must be finite; received NaN or infinity"
    else:
        ordered = tf.sort(values, axis=-1)
        twice = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] != PADDING)
        good = ~tf.reduce_any(twice)
        rule = f"{name} must list the row number of each tag once, padded with {PADDING}"
    with tf.control_dependencies([tf.debugging.Assert(good, [rule])]):
        return tf.identity(values)


def _compiled(
    function: Callable, *signature: tf.TensorSpec | dict
) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(function, input_signature=signature, autograph=False)
