"""The SavedModel of a trained graph: TensorFlow alone suffices to use it.

Everything that annotating needs travels inside: see `deployment.py`. Arrays are
variables; the settings are `assets/annotator.json`, the vocabulary
`assets/vocabulary.txt`. `load` reads both back without running the stored graph.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tagnet.architectures import ARCHITECTURES, GraphSettings
from tagnet.corpus import Corpus, TaggedImages
from tagnet.deployment import Deployment, DeploymentSettings, float32_graph
from tagnet.files import InputError, read_json, write_json, written_whole
from tagnet.signatures import Server
from tagnet.tags import TagLists, Vocabulary

VERSION = "1"  # TensorFlow Serving's layout: saved_model/<version>/
FORMAT = 1
SETTINGS = "annotator.json"
VOCABULARY = "vocabulary.txt"


def export(deployment: Deployment, directory: str | Path) -> Path:
    """Writes a deployment to `DIRECTORY/1` with the signatures of `signatures.py`.

    `serving_default` takes the graph's inputs by name (`phi_x` [B, D], `phi_z`
    [B, K, D], `pi_x`, `pi_z`; see `architectures`), with B and K free, and returns
    `scores` (logits, [B, L]) and `probabilities` (calibrated). A request of
    `annotate_features` warms a server up before it answers.

    Args:
        deployment: the model.
        directory: `saved_model` of a run.

    Returns:
        The folder written.
    """
    target = Path(directory) / VERSION
    with written_whole(target) as temporary, tempfile.TemporaryDirectory() as folder:
        settings, vocabulary = Path(folder, SETTINGS), Path(folder, VOCABULARY)
        write_json(settings, {"format": FORMAT} | dataclasses.asdict(deployment.settings))
        deployment.vocabulary.save(vocabulary)
        server = Server(deployment, vocabulary)
        server.settings = tf.saved_model.Asset(str(settings))
        tf.saved_model.save(server, str(temporary), server.signatures())
        _write_warmup(deployment, temporary / "assets.extra")
    return target


def _write_warmup(deployment: Deployment, folder: Path) -> None:
    """Writes the request that TensorFlow Serving plays to a model before it takes others."""
    phi = np.zeros([1, deployment.settings.graph.feature_dim], np.float32)
    tags = np.array([[deployment.vocabulary.words[0].encode()]])
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as file:
        file.write(prediction_log("annotate_features", {"phi": phi, "tags": tags}))


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
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def load(folder: str | Path) -> Deployment:
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
        raise InputError(f"{folder}: must be a finished run or a SavedModel of one")
    settings = _read_settings(found[0] / "assets" / SETTINGS)
    vocabulary = Vocabulary.load(found[0] / "assets" / VOCABULARY)
    try:
        reader = tf.train.load_checkpoint(str(found[0] / "variables" / "variables"))
        return _restore(settings, vocabulary, lambda name: _read(reader, name))
    except InputError:
        raise
    except Exception as error:  # damaged files fail in whatever way their bytes suggest
        reason = " ".join(str(error).split())
        raise InputError(f"{found[0]}: is damaged ({reason})") from error


def _read_settings(path: Path) -> DeploymentSettings:
    if not path.is_file():
        raise InputError(
            f"{path.parent.parent}: must be a SavedModel that carries its corpus, as a run of this "
            f"version writes it; received one without assets/{SETTINGS}"
        )
    values: dict[str, Any] = read_json(path)
    if values.pop("format", None) != FORMAT:
        raise InputError(f"{path}: must be of format {FORMAT}; export the run again")
    try:
        values["graph"] = GraphSettings(**values["graph"])
        values["labels"] = tuple(values["labels"])
        settings = DeploymentSettings(**values)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: has other fields than this version ({error})") from error
    if settings.arch not in ARCHITECTURES:
        raise InputError(f"{path}: arch must be a known graph; received {settings.arch!r}")
    return settings


def _read(reader: Any, name: str) -> np.ndarray:
    return reader.get_tensor(f"model/{name}/.ATTRIBUTES/VARIABLE_VALUE")


def _restore(
    settings: DeploymentSettings, vocabulary: Vocabulary, read: Callable[[str], np.ndarray]
) -> Deployment:
    """Builds a deployment from its arrays, each read by the path of its variable."""
    core = float32_graph(
        settings.arch, settings.graph, lambda layer, i: read(f"weights/{layer}/{i}")
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
    deployment = Deployment(settings, core, vocabulary, beta, Corpus(images, words, rho))
    deployment.calibrate(read("validation_scores"), read("validation_labels"))
    return deployment
