"""A folder that PhotoPrism loads as its classifier of photos: pixels in, probabilities out.

PhotoPrism reads a SavedModel with one signature of a four-dimensional image, values from 0 to 1,
and a matrix of probabilities; `labels.txt`; and `vision.yml`, which is for its own configuration.
It knows no tags, so every photo is annotated as one without them, by its features and those of
the training images nearest to it.
"""

from pathlib import Path

import tensorflow as tf

from tagnet.errors import InputError
from tagnet.serving.model import ServingModel
from tagnet.serving.signatures import PREPARED, Cnn
from tagnet.system.files import atomic_write, write_text

NAME = "tagnet"  # of the folder among PhotoPrism's models
CONFIDENCE = 50  # per cent; the probability from which PhotoPrism gives a label
VISION = """\
Models:
- Type: labels
  Name: {name}
  Resolution: {resolution}
  TensorFlow:
    Tags:
    - serve
    Output:
      Outputs: {labels}
- Type: nsfw
  Default: true
- Type: face
  Default: true
Thresholds:
  Confidence: {confidence}
"""


class Classifier(tf.Module):
    """A serving model behind its CNN, for photos that somebody else has opened.

    PhotoPrism cuts out the central square and resamples it; of this the central 7/8 are taken, as
    in training.

    Args:
        deployment: the model.
        cnn: of the model.
    """

    def __init__(self, deployment: ServingModel, cnn: Cnn) -> None:
        super().__init__()
        self.model = deployment
        self.cnn = cnn
        self.resolution = round(cnn.size * 256 / 224)

    def function(self) -> tf.types.experimental.PolymorphicFunction:
        """The signature: `image` [B, resolution, resolution, 3] → `probabilities` [B, L]."""
        shape = [None, self.resolution, self.resolution, 3]
        image = tf.TensorSpec(shape, tf.float32, name="image")
        return tf.function(self._classified, input_signature=[image], autograph=False)

    def _classified(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        margin = (self.resolution - self.cnn.size) // 2
        inner = slice(margin, margin + self.cnn.size)
        phi = self.cnn(255 * image[:, inner, inner])
        no_tags = tf.RaggedTensor.from_row_splits(
            tf.zeros([0], tf.int32), tf.zeros([tf.shape(phi)[0] + 1], tf.int64)
        )
        answers = self.model.answer(phi, no_tags)
        labels = len(self.model.settings.labels)
        return {"probabilities": tf.ensure_shape(answers["probabilities"], [None, labels])}


def write_photoprism(deployment: ServingModel, folder: Path) -> None:
    """Writes a model for PhotoPrism.

    Args:
        deployment: the model.
        folder: becomes its folder, with `saved_model.pb`, `variables/`, `labels.txt` and
            `vision.yml`.

    Raises:
        InputError: the model's CNN cannot be part of it.
    """
    cnn = Cnn.of(deployment)
    if cnn is None:
        raise InputError(
            f"--format=photoprism: the backbone must be one of {', '.join(PREPARED)}, which can be "
            f"part of the model; received {deployment.settings.backbone or 'an unknown one'}"
        )
    classifier = Classifier(deployment, cnn)
    labels = deployment.settings.labels
    with atomic_write(folder) as temporary:
        tf.saved_model.save(classifier, str(temporary), classifier.function())
        write_text(temporary / "labels.txt", "".join(f"{label}\n" for label in labels))
        vision = VISION.format(
            name=NAME,
            resolution=classifier.resolution,
            labels=len(labels),
            confidence=CONFIDENCE,
        )
        write_text(temporary / "vision.yml", vision)
