"""The SavedModel of a trained model, which needs only TensorFlow.

Everything that annotating needs travels inside: see `deployment.py`. Arrays are
variables; the settings are `assets/annotator.json`, the vocabulary
`assets/vocabulary.txt`. `load` reads both back without running the stored graph.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tagnet.data.dataset import PreparedDataset
from tagnet.data.tags import TagLists, Vocabulary
from tagnet.errors import InputError, reason_of
from tagnet.evaluation.calibration import CalibrationReport
from tagnet.models.architectures import ARCHITECTURES
from tagnet.serving.corpus import Corpus, TaggedImages
from tagnet.serving.model import ServingModel, build_serving_model, float32_model
from tagnet.serving.signatures import Server, input_name
from tagnet.settings import GraphSettings, ServingSettings
from tagnet.system.checksums import CHECKSUMS, read_checksums, verify, write_checksums
from tagnet.system.files import (
    Check,
    atomic_write,
    is_out_of_memory,
    read_json,
    with_hint,
    write_json,
)

VERSION = "1"  # TensorFlow Serving's layout: saved_model/<version>/
FORMAT = 3
# The end of a line that tells of damage.
HINT_EXPORT = "to export it again, remove metrics.json of its run and start the run again"
SETTINGS = "annotator.json"
VOCABULARY = "vocabulary.txt"


def export(
    model: keras.Model,
    dataset: PreparedDataset,
    directory: str | Path,
    *,
    split: int = 0,
    neighbours: str = "id",
    max_rank: int = 24,
    samples: int = 10,
) -> Path:
    """Writes a trained model as a SavedModel that annotates; `Annotator.load` opens it.

    The training images travel inside, as those that neighbours are found among. Probabilities
    are calibrated on the validation images.

    Args:
        model: of `build`, trained.
        dataset: what it was trained on, of `load`.
        directory: the SavedModel becomes its version 1, as TensorFlow Serving expects.
        split: index of the split.
        neighbours: encoding whose distance picks the neighbours: `id`, `w2v` or `wnet`.
        max_rank: M, how many nearest images a neighbourhood is drawn from.
        samples: how many neighbourhoods a model with an LSTM averages over.

    Returns:
        The folder written.

    Raises:
        InputError: the data set lacks something, or the directory cannot be written.
    """
    deployment = build_serving_model(
        model,
        dataset,
        split=split,
        neighbours=neighbours,
        max_rank=max_rank,
        samples=samples,
    )
    return write_saved_model(deployment, directory)


def write_saved_model(
    deployment: ServingModel, directory: str | Path, check: Check | None = None
) -> Path:
    """Writes a deployment to `DIRECTORY/1` with the signatures of `signatures.py`.

    `serving_default` takes the graph's inputs by name (`phi_x` [B, D], `phi_z`
    [B, K, D], `pi_x`, `pi_z`; see `architectures`), with B and K free, and returns
    `scores` (logits, [B, L]) and `probabilities` (calibrated). A request of each
    signature warms a server up before it answers.

    Args:
        deployment: the model.
        directory: `saved_model` of a run.
        check: see `files.atomic_write`.

    Returns:
        The folder written.
    """
    target = Path(directory) / VERSION
    with atomic_write(target, check) as temporary, tempfile.TemporaryDirectory() as folder:
        settings, vocabulary = Path(folder, SETTINGS), Path(folder, VOCABULARY)
        write_json(settings, described(deployment))
        deployment.vocabulary.save(vocabulary)
        server = Server(deployment, vocabulary)
        server.settings = tf.saved_model.Asset(str(settings))
        signatures = server.signatures()
        tf.saved_model.save(server, str(temporary), signatures)
        _write_warmup(deployment, signatures, temporary / "assets.extra")
        files = [path for path in temporary.rglob("*") if path.is_file()]
        write_checksums(temporary, (str(path.relative_to(temporary)) for path in files))
    return target


def described(deployment: ServingModel) -> dict[str, Any]:
    """A deployment's settings and calibration for JSON, as `read_settings` reads them."""
    report = deployment.calibration_report
    return {
        "format": FORMAT,
        "settings": dataclasses.asdict(deployment.settings),
        "judgement": report and dataclasses.asdict(report),
    }


def _write_warmup(deployment: ServingModel, signatures: Iterable[str], folder: Path) -> None:
    """Writes the warm-up requests that TensorFlow Serving replays when it loads a model.

    One for each signature, of two images: one's tags find the neighbours, the other has none.
    """
    black = tf.io.encode_jpeg(np.zeros([8, 8, 3], np.uint8)).numpy()
    word = "".join(deployment.vocabulary.words[:1]).encode()  # empty in a model without tags
    tags = np.array([[word], [b""]])
    m = deployment.settings.graph.m
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[black]))
    known = tf.train.Feature(bytes_list=tf.train.BytesList(value=[word]))
    examples = [
        tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
        for feature in ({"image": image, "tags": known}, {"image": image})
    ]
    requests: dict[str, dict[str, np.ndarray]] = {
        "serving_default": {
            input_name(tensor): _zeros(tensor, m) for tensor in deployment.core.inputs
        },
        "annotate_features": {
            "phi": np.ones([2, deployment.settings.graph.feature_dim], np.float32),
            "tags": tags,
        },
        "annotate_image": {"image": np.array([black, black], object), "tags": tags},
        "annotate_examples": {"examples": np.array(examples, object)},
    }
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as file:
        for name in signatures:
            file.write(prediction_log(name, requests[name]))


def _zeros(tensor: keras.KerasTensor, m: int) -> np.ndarray:
    """Two images' worth of an input, of m neighbours; one tag where it takes their ids."""
    free = iter([m, 1] if tensor.name.endswith("_z") else [1])
    return np.zeros([2, *(size or next(free) for size in tensor.shape[1:])], tensor.dtype)


def prediction_log(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialised `tensorflow.serving.PredictionLog` of one request.

    Its few fields are written here as protobuf lays them out (a number, a length, the
    content), so that a run needs no package of the server's interface.

    Args:
        signature: which one is asked.
        inputs: its arguments.
    """
    request = _field(1, _field(1, b"tagnet") + _field(3, signature.encode()))  # model_spec
    for name, values in inputs.items():
        tensor = tf.make_tensor_proto(values).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # an entry of inputs
    return _field(6, _field(1, request))  # predict_log, its request


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encodes seven bits per byte, lowest first; the eighth bit means that more follow."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def load(folder: str | Path) -> ServingModel:
    """Reads what `export` wrote.

    Args:
        folder: a run directory, its `saved_model`, or a version in that.

    Raises:
        InputError: there is no such model, or it is damaged or of another version.
    """
    folder = Path(folder)
    places = (folder / "saved_model" / VERSION, folder / VERSION, folder)
    found = [place for place in places if (place / "saved_model.pb").is_file()]
    if not found:
        raise InputError(f"{folder}: not a finished run or a SavedModel (no saved_model.pb)")
    with with_hint(HINT_EXPORT):
        settings, calibration_report = read_settings(found[0] / "assets" / SETTINGS)
        _check(found[0])
    vocabulary = Vocabulary.load(found[0] / "assets" / VOCABULARY, empty=True)
    try:
        reader = tf.train.load_checkpoint(str(found[0] / "variables" / "variables"))
        reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")  # not needed; damage in it shows
        deployment = _restore(settings, vocabulary, lambda name: _read(reader, name))
    except InputError:
        raise
    except Exception as error:  # damaged files fail in whatever way their bytes suggest
        if is_out_of_memory(error):
            raise
        reason = reason_of(error)
        raise InputError(f"{found[0]}: is damaged ({reason})") from error
    deployment.calibration_report = calibration_report
    return deployment


def _check(folder: Path) -> None:
    """Verifies all files, since a server reads more of a model than `load` does."""
    sums = read_checksums(folder)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    verify(folder, sorted(there - {CHECKSUMS} | sums.keys()), sums)


def read_settings(path: Path) -> tuple[ServingSettings, CalibrationReport | None]:
    """Reads what `described` made, from a file.

    Raises:
        InputError: it is not there, or of another version.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent.parent}: must be a SavedModel that a run of this version wrote; "
            f"received one without assets/{SETTINGS}"
        )
    values: dict[str, Any] = read_json(path)
    if values.pop("format", None) != FORMAT:
        raise InputError(f"{path}: must have format {FORMAT}; {HINT_EXPORT}")
    try:
        values, judged = values["settings"], values["judgement"]
        values["graph"] = GraphSettings(**values["graph"])
        values["labels"] = tuple(values["labels"])
        settings = ServingSettings(**values)
        calibration_report = None if judged is None else CalibrationReport.of(judged)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: has other fields than this version ({error})") from error
    if settings.arch not in ARCHITECTURES:
        raise InputError(f"{path}: arch must be a known architecture; received {settings.arch!r}")
    return settings, calibration_report


def _read(reader: Any, name: str) -> np.ndarray:
    return reader.get_tensor(f"model/{name}/.ATTRIBUTES/VARIABLE_VALUE")


def _restore(
    settings: ServingSettings, vocabulary: Vocabulary, read: Callable[[str], np.ndarray]
) -> ServingModel:
    """Builds a serving model from its arrays, each read by the path of its variable."""
    core = float32_model(
        settings.arch,
        settings.graph,
        lambda layer: [read(f"weights/{layer.name}/{i}") for i in range(len(layer.weights))],
    )
    beta = {name: read(f"beta/{name}") for name in settings.encodings}
    tags, labels = (
        TagLists(read(f"corpus/{name}/ids"), read(f"corpus/{name}/offsets"))
        for name in ("tags", "labels")
    )
    names, words = (
        [text.decode() for text in read(f"corpus/{name}")] for name in ("image_ids", "words")
    )
    images = TaggedImages(names, read("corpus/phi/table"), tags, labels)
    rho = {name: read(f"corpus/rho/{name}/table") for name in settings.encodings}
    deployment = ServingModel(settings, core, vocabulary, beta, Corpus(images, words, rho))
    deployment.calibrate(read("validation_scores"), read("validation_labels"))
    return deployment
