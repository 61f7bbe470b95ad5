"""Images a second of every backbone that is there: bare, with the photos, and by ONNX Runtime.

    python -m benchmarks.speed.features [--backbones=A,FILE.onnx] [--photos=FOLDER] [--model=RUN]

network     the CNN alone, on images that lie prepared in memory
features    `features.extract`, as `data_tools.prepare` runs it: photos read, decoded, prepared
plain loop  the same in the loop that Keras' users write: read and prepare a batch of 32, then
            `model.predict`, one after the other
ONNX        the same network, exported by tf2onnx where that is installed, in ONNX Runtime
annotate    with --model: the command `annotate` as a whole; see `benchmarks.speed.annotate`

Network, features and ONNX have the batches and threads of `extract`. What ONNX Runtime and the
plain loop give is compared with the network's first. All alternate; the first calls, which
compile, are left out. Without --photos the credited photographs of examples/ are taken, 320
pixels wide; those of cameras are larger, and reading them counts for more.
"""

import dataclasses
import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import machine
from benchmarks.speed import annotate
from tagnet.backbones import onnx_models
from tagnet.backbones.catalogue import LITES, ONNX
from tagnet.backbones.features import (
    Backbone,
    Network,
    backbone_of,
    extract,
    network,
    onnx_backbone,
)
from tagnet.backbones.onnx_models import OnnxSettings
from tagnet.backbones.preparation import Changes, Preparation
from tagnet.errors import InputError
from tagnet.photos.images import read_image
from tagnet.system import console
from tagnet.system.console import option, say

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"
BATCH, WORKERS = 16, 2  # as in `features.extract`
PLAIN_BATCH = 32  # Keras' own default
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    backbones: tuple[str, ...] | None = option(None, "names or ONNX files [EfficientNet-Lite]")
    photos: Path = option(EXAMPLES, "a folder of .jpg files")
    images: int = option(256, "files are repeated up to that number")
    rounds: int = option(5, "how often each is timed")
    model: Path | None = option(None, "a run, to time annotate with [none]")


def main(options: Options) -> None:
    """Prints a row for each backbone."""
    files = sorted(options.photos.rglob("*.jpg"))
    if not files:
        raise InputError(f"{options.photos}: must hold .jpg files; received none")
    photos = list(itertools.islice(itertools.cycle(files), options.images))
    say("images/s: median (least to most)")
    for name in options.backbones or _installed():
        for what, speeds in measured(_opened(name), photos, options.rounds).items():
            say(_row(Path(name).name, what, speeds))
    if options.model is not None:
        for what, speeds in annotate.measured(
            options.model, options.photos, options.rounds
        ).items():
            say(_row(options.model.name, what, speeds))
    packages = ["tensorflow", "keras", "pillow"]
    packages += ["onnxruntime"] if importlib.util.find_spec("onnxruntime") else []
    say(f"{len(photos)} images of {len(files)} files; {machine.described(*packages)}")


def _row(name: str, what: str, speeds: Sequence[float]) -> str:
    middle, low, high = statistics.median(speeds), min(speeds), max(speeds)
    return f"{name:20} {what:10} {middle:7.1f} ({low:.1f} to {high:.1f})"


def _installed() -> list[str]:
    return [
        name
        for name, lite in LITES.items()
        if importlib.util.find_spec(lite.package.replace("-", "_"))
    ]


def _opened(name: str) -> Backbone:
    if name.endswith(ONNX):
        return onnx_backbone(onnx_models.chosen(Path(name), Changes()))
    return backbone_of(name)


def measured(backbone: Backbone, photos: Sequence[Path], rounds: int) -> dict[str, list[float]]:
    """The images a second of each way, in each round."""
    images = np.stack([backbone.prepare(read_image(photo)) for photo in photos])
    ways: dict[str, Callable[[], np.ndarray]] = {
        "network": lambda: in_threads(network(backbone), images),
        "features": lambda: extract(backbone, photos),
    }
    model = backbone.build(backbone.weights)
    if isinstance(model, keras.Model):
        ways["plain loop"] = lambda: plain_loop(backbone, model, photos)
        if (exported := by_onnx_runtime(model)) is not None:
            ways["ONNX"] = lambda: in_threads(exported, images)
    expected = ways["network"]()
    for name, way in ways.items():  # also the first calls, which compile
        difference = np.abs(way() - expected).max()
        if difference > TOLERANCE:
            raise InputError(f"{backbone.name}: {name} differs from the network by {difference}")
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            speeds[name].append(len(photos) / (time.perf_counter() - start))
    return speeds


def in_threads(cnn: Network, images: np.ndarray) -> np.ndarray:
    """Φ of prepared images, in the batches and threads of `extract`."""
    batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
    with ThreadPoolExecutor(WORKERS) as threads:
        return np.concatenate(list(threads.map(cnn, batches)))


def plain_loop(backbone: Backbone, model: keras.Model, photos: Sequence[Path]) -> np.ndarray:
    """Φ of photos, one step after the other."""
    found = []
    for first in range(0, len(photos), PLAIN_BATCH):
        some = photos[first : first + PLAIN_BATCH]
        batch = np.stack([backbone.prepare(read_image(photo)) for photo in some])
        found.append(model.predict(batch, verbose=0))
    return np.concatenate(found)


def by_onnx_runtime(model: keras.Model) -> Network | None:
    """The same network in ONNX Runtime; None where it cannot be exported here."""
    if not (importlib.util.find_spec("tf2onnx") and importlib.util.find_spec("onnxruntime")):
        return None
    import tf2onnx

    size = model.input_shape[1]
    images = (tf.TensorSpec(model.inputs[0].shape, tf.float32, name="images"),)
    function = tf.function(lambda x: model(x, training=False), input_signature=images)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        tf2onnx.convert.from_function(function, images, opset=18, output_path=str(file))
        (output,) = onnx_models.graph_of(file).outputs
        # Images come prepared; the settings only name the output.
        none = Preparation(size, size, False, "bicubic", 1.0, (0.0,) * 3, (1.0,) * 3)
        return onnx_models.onnx_network(OnnxSettings(str(file), (), output, "none", none))


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
