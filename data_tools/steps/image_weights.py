"""The weights of the images in the loss, where a source has some."""

from pathlib import Path

import numpy as np
import pandas as pd

from tagnet.data.dataset import IMAGE_WEIGHTS
from tagnet.errors import InputError
from tagnet.system.files import write_arrays


def write_image_weights(out: Path, manifest: pd.DataFrame) -> bool:
    """Writes `image_weights.npz`, with 1 for an image that has no weight of its own.

    Args:
        out: the prepared directory.
        manifest: the images; without a column `weight` nothing is written.

    Returns:
        Whether there are weights.

    Raises:
        InputError: all of them are 0.
    """
    if "weight" not in manifest:
        return False
    weights = np.array([1.0 if one is None else one for one in manifest["weight"]], np.float32)
    if not weights.any():
        raise InputError("weight: at least one image must have a weight above 0; received none")
    write_arrays(out / IMAGE_WEIGHTS, {"weights": weights})
    return True
