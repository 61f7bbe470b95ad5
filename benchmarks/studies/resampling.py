"""How far the pixels of the SavedModel are from Pillow's, and the features from those of training.

    python -m benchmarks.studies.resampling --photos=FOLDER

The first photographs of a folder are decoded, cut and resampled inside a TensorFlow graph
and by Pillow; then both go through the CNN.
"""

import dataclasses
import datetime
import platform
from pathlib import Path

import numpy as np
import PIL
import tensorflow as tf

from tagnet.backbones.efficientnet import central_square
from tagnet.backbones.features import BACKBONES
from tagnet.errors import InputError
from tagnet.photos.folders import find_photographs
from tagnet.photos.images import read_image
from tagnet.serving import pixels
from tagnet.serving.signatures import PREPARED
from tagnet.system import console
from tagnet.system.console import option, progress, require_at_least, say

BACKBONE = "efficientnet_lite0"


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    photos: Path = option(Path("examples/photos"), "photographs")
    images: int = option(100, "how many of them")

    def __post_init__(self) -> None:
        require_at_least(self, images=1)


def main(options: Options) -> None:
    """Compares and prints."""
    backbone = BACKBONES[BACKBONE]
    size, network = backbone.image_size, backbone.build(backbone.weights)
    square = tf.function(
        lambda contents: pixels.central_square(pixels.decode(contents), size),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    found, _ = find_photographs(options.photos)
    if len(found) < options.images:
        raise InputError(f"--photos must hold {options.images} photographs; received {len(found)}")
    differ = [0.0]
    largest_pixel = largest_feature = 0.0
    for photograph in progress(found[: options.images], "Photographs"):
        inside = square(photograph.path.read_bytes()).numpy()
        outside = central_square(read_image(photograph.path), size)
        gap = np.abs(inside - outside)
        largest_pixel = max(largest_pixel, float(gap.max()))
        differ.append(float((gap > 0).mean()))
        batch = np.stack(
            [PREPARED[BACKBONE](inside), backbone.prepare(read_image(photograph.path))]
        )
        one, two = network(batch, training=False).numpy()
        largest_feature = max(largest_feature, float(np.abs(one - two).max()))
    say(
        f"{options.images} photographs: pixels differ by at most {largest_pixel:g} of 255, "
        f"{100 * sum(differ) / options.images:.4f} % of them at all; "
        f"features by at most {largest_feature:.2g}"
    )
    say(
        f"{datetime.date.today()}, Python {platform.python_version()}, "
        f"tensorflow {tf.__version__}, pillow {PIL.__version__}"
    )


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
