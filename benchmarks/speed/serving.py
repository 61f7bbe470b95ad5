"""What a served model costs: size and latency, and where the time goes.

    python -m benchmarks.speed.serving --model=RUN --data=DIR --photos=FOLDER

Answers of the SavedModel's `annotate_image` for one image and for batches, with corpora of
several sizes, made of the model's own one and noise. Beside them the parts: decoding and
resampling, CNN, neighbours by tags or, where no tag is known, by features, and fusion; and
NumPy's exact search by features (one product with a float32 table, `argpartition`).
"""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import machine
from tagnet.backbones.features import BACKBONES
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.serving import export, pixels
from tagnet.serving.corpus import Corpus, TaggedImages
from tagnet.serving.model import ServingModel
from tagnet.system import console
from tagnet.system.console import option, require_at_least, say

COLUMNS = (
    *("corpus", "MB", "images", "all, ms", "decoding", "CNN", "neighbours by tags"),
    *("by features", "NumPy's", "fusion"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    model: Path = option(Path("demo/ltwin_2rnn"), "a run")
    data: Path = option(Path("demo/data"), "the prepared directory that it was trained on")
    photos: Path = option(Path("examples/photos"), "JPEGs of the usual size")
    corpora: tuple[str, ...] = option(("4000", "110000"), "numbers of images in the corpus")
    batches: tuple[str, ...] = option(("1", "64"), "numbers of images in a request")
    repeats: int = option(7, "of which the median counts")

    def __post_init__(self) -> None:
        require_at_least(self, repeats=1)
        for number in (*self.corpora, *self.batches):
            if not number.isdecimal():
                raise InputError(f"--corpora and --batches must be numbers; received {number!r}")


@dataclasses.dataclass(frozen=True)
class Request:
    """Some test images as they are asked about: JPEGs [B], tags [B, T], Φ [B, D], tag ids."""

    images: tf.Tensor
    tags: tf.Tensor
    phi: tf.Tensor
    ids: tf.RaggedTensor


def main(options: Options) -> None:
    """Measures and prints."""
    measured_on = machine.described("tensorflow", "numpy")  # the load before ours
    deployment = export.load(options.model)
    requests = [_request(options, deployment, int(count)) for count in options.batches]
    say(f"| {' | '.join(COLUMNS)} |")
    say(f"|{'---|' * len(COLUMNS)}")
    seconds = [_seconds_of_images(deployment, request, options.repeats) for request in requests]
    for size in map(int, options.corpora):
        enlarged = _enlarged(deployment, size)
        table = enlarged.corpus.phi.table.numpy().astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            written = export.write_saved_model(enlarged, folder)
            megabytes = sum(f.stat().st_size for f in written.rglob("*") if f.is_file()) / 1e6
            served = tf.saved_model.load(str(written)).signatures["annotate_image"]
        for request, (decoding, network) in zip(requests, seconds, strict=True):
            whole = functools.partial(served, image=request.images, tags=request.tags)

            parts = [_median(whole, options.repeats), decoding, network]
            parts += _seconds_of_parts(enlarged, table, request, options.repeats)
            told = [f"{size:,}", f"{megabytes:.0f}", str(len(request.images))]
            say(f"| {' | '.join(told + [f'{1000 * part:.1f}' for part in parts])} |")
    say(
        f"\n`{deployment.settings.arch}`; {measured_on} at the beginning; "
        f"medians of {options.repeats}"
    )


def _request(options: Options, deployment: ServingModel, count: int) -> Request:
    dataset = PreparedDataset(options.data)
    images = [path.read_bytes() for path in sorted(options.photos.glob("*.jpg"))]
    rows = dataset.split(0)["test"][:count]
    tags = dataset.tags.select(rows)
    words = [deployment.vocabulary.decode(ids) for ids in tags]
    return Request(
        tf.constant((images * count)[:count]),
        tf.ragged.constant(words, dtype=tf.string).to_tensor(""),
        tf.constant(dataset.features[rows], tf.float32),
        tf.RaggedTensor.from_row_splits(tags.ids, tags.offsets),
    )


def _seconds_of_images(
    deployment: ServingModel, request: Request, repeats: int
) -> tuple[float, float]:
    """Of decoding and resampling, and of the CNN."""
    backbone = BACKBONES[deployment.settings.backbone or ""]
    network, size = backbone.build(backbone.weights), backbone.image_size
    prepare = tf.function(
        lambda contents: tf.map_fn(
            lambda image: pixels.central_square(pixels.decode(image), size),
            contents,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        ),
        autograph=False,
    )
    squares = prepare(request.images)
    cnn = tf.function(lambda x: network(x, training=False), autograph=False)
    return (
        _median(lambda: prepare(request.images), repeats),
        _median(lambda: cnn(squares), repeats),
    )


def _seconds_of_parts(
    deployment: ServingModel, table: np.ndarray, request: Request, repeats: int
) -> list[float]:
    """Of neighbours by tags, by features, by features in NumPy, and of fusion."""
    phi, ids = request.phi, request.ids
    none = tf.RaggedTensor.from_row_lengths(ids.values[:0], [0] * len(phi))
    search = tf.function(deployment.nearest, autograph=False)
    fuse = tf.function(deployment.fuse, autograph=False)
    rows, _, _ = search(phi, ids)
    units = table / np.linalg.norm(table, axis=1, keepdims=True)

    def numpy_search() -> object:
        similarity = phi.numpy() @ units.T
        return np.argpartition(-similarity, deployment.M, axis=1)[:, : deployment.M]

    return [
        _median(lambda: search(phi, ids), repeats),
        _median(lambda: search(phi, none), repeats),
        _median(numpy_search, repeats),
        _median(lambda: fuse(phi, ids, rows), repeats),
    ]


def _enlarged(deployment: ServingModel, count: int) -> ServingModel:
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
    return ServingModel(
        deployment.settings,
        deployment.core,
        deployment.vocabulary,
        beta,
        Corpus(images, deployment.vocabulary.words, rho),
    )


def _median(call: Callable[[], object], repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
