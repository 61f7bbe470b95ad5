"""What a served model costs, and what its probabilities are worth.

    python benchmarks/serving.py --model=RUN --data=DIR --photos=FOLDER

Latency of one image and of batches through the SavedModel, split over decoding and
resampling, CNN, neighbours and fusion; its size; and the calibration error on the test
split before and after temperature scaling.
"""

import dataclasses
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.special import expit

from tagnet import console, export, pixels
from tagnet.calibration import calibration_error
from tagnet.console import option, say
from tagnet.corpus import Corpus, TaggedImages
from tagnet.dataset import PreparedDataset
from tagnet.deployment import Deployment
from tagnet.features import BACKBONES
from tagnet.tags import TagLists

REPEATS = 7


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    model: Path = option(Path("demo/ltwin_2rnn"), "a run")
    data: Path = option(Path("demo/data"), "the prepared directory that it was trained on")
    photos: Path = option(Path("examples/photos"), "JPEGs of the usual size")
    corpus: int = option(110_000, "images of a second, made-up corpus")


def main(options: Options) -> None:
    """Measures and prints."""
    say(
        f"{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, tensorflow {tf.__version__}; "
        f"load {os.getloadavg()[0]:.1f}; medians of {REPEATS}"
    )
    deployment = export.load(options.model)
    dataset = PreparedDataset(options.data)
    folder = options.model / "saved_model"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"{deployment.settings.arch}, corpus of {len(deployment.corpus):,}: {size / 1e6:.1f} MB")
    images = [path.read_bytes() for path in sorted(options.photos.glob("*.jpg"))]
    for count in (1, 64):
        _latency(folder / export.VERSION, deployment, dataset, (images * count)[:count])
    large = _enlarged(deployment, options.corpus)
    size = sum(variable.numpy().nbytes for variable in large.corpus.variables)
    say(f"corpus of {options.corpus:,}, made up: {size / 1e6:.0f} MB of arrays")
    for count in (1, 64):
        _parts(large, dataset, count)
    _calibration(options.model, deployment)


def _latency(folder: Path, deployment: Deployment, dataset: PreparedDataset, images: list) -> None:
    served = tf.saved_model.load(str(folder)).signatures["annotate_image"]
    rows = dataset.split(0)["test"][: len(images)]
    words = [dataset.vocabulary.decode(dataset.tags[row]) for row in rows]
    tags = tf.ragged.constant(words, dtype=tf.string).to_tensor("")
    whole = _median(lambda: served(image=tf.constant(images), tags=tags))
    backbone = BACKBONES[deployment.settings.backbone or ""]
    network = backbone.build(backbone.weights)
    size = backbone.image_size
    prepare = tf.function(
        lambda contents: tf.map_fn(
            lambda image: pixels.central_square(pixels.decode(image), size),
            contents,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        ),
        autograph=False,
    )
    squares = prepare(tf.constant(images))
    cnn = tf.function(lambda x: network(x, training=False), autograph=False)
    decoding, through = (
        _median(lambda: prepare(tf.constant(images))),
        _median(lambda: cnn(squares)),
    )
    say(
        f"  {len(images)} images: {1000 * whole:.1f} ms; decoding and resampling "
        f"{1000 * decoding:.1f}, CNN {1000 * through:.1f}"
    )
    _parts(deployment, dataset, len(images))


def _parts(deployment: Deployment, dataset: PreparedDataset, count: int) -> None:
    rows = dataset.split(0)["test"][:count]
    tags = dataset.tags.select(rows)
    phi = tf.constant(dataset.features[rows], tf.float32)
    ids = tf.RaggedTensor.from_row_splits(tags.ids, tags.offsets)
    none = tf.RaggedTensor.from_row_lengths(tags.ids[:0], [0] * count)
    search, answer = tf.function(deployment.nearest, autograph=False), deployment.function()
    say(
        f"  {count} feature vectors: neighbours by tags "
        f"{1000 * _median(lambda: search(phi, ids)):.1f} ms, by features "
        f"{1000 * _median(lambda: search(phi, none)):.1f}; with fusion "
        f"{1000 * _median(lambda: answer(phi, ids)):.1f}"
    )


def _enlarged(deployment: Deployment, count: int) -> Deployment:
    """The same model with a corpus of `count` images, made from its own ones and noise."""
    rng = np.random.default_rng(0)
    corpus = deployment.corpus
    rows = rng.integers(len(corpus), size=count)
    phi = corpus.phi.table.numpy()[rows]
    phi += rng.random(phi.shape, np.float32).astype(np.float16) / 8
    images = TaggedImages(
        [str(row) for row in range(count)],
        phi,
        corpus.tags.numpy().select(rows),
        TagLists.from_lists([[]] * count),
    )
    rho = {name: vectors.table.numpy()[rows] for name, vectors in corpus.rho.items()}
    beta = {name: table.numpy() for name, table in deployment.beta.items()}
    return Deployment(
        deployment.settings,
        deployment.core,
        deployment.vocabulary,
        beta,
        Corpus(images, deployment.vocabulary.words, rho),
    )


def _calibration(run: Path, deployment: Deployment) -> None:
    with np.load(run / "predictions.npz") as predictions:
        scores, labels = predictions["scores"], predictions["labels"]
    temperature = float(deployment.temperature)
    before, after = (calibration_error(expit(scores / t), labels) for t in (1, temperature))
    say(
        f"expected calibration error on {len(labels):,} test images: {100 * before:.2f} %, "
        f"with temperature {temperature:.2f} {100 * after:.2f} %"
    )


def _median(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
