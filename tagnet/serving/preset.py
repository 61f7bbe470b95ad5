"""Presets: a model as a small folder, after the manner of KerasHub.

    config.json        what the model is: architecture, sizes, labels, backbone, calibration
    metadata.json      versions, number of parameters
    model.weights.h5   weights by the paper's names (`W_x/kernel`), in float16
    corpus.npz         the training images (names, Φ in float16, tags, labels), β in float16, and
                       the scores and labels of the validation split
    vocabulary.txt     the tags
    checksums.sha256   of all of these

What follows from the rest is not stored: ρ, and the references of a kernel path where they are
the corpus. A SavedModel of the same model is several times as large, and a server can run it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import keras
import numpy as np
import tensorflow as tf

import tagnet
from tagnet.data.comparison import comparison_weights
from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tags import TagLists, Vocabulary
from tagnet.errors import InputError, reason_of
from tagnet.models.parts import fixed_paths
from tagnet.serving import export
from tagnet.serving.corpus import Corpus, TaggedImages
from tagnet.serving.model import ServingModel, float32_model
from tagnet.settings import ServingSettings
from tagnet.system.checksums import read_checksums, verify, write_checksums
from tagnet.system.files import atomic_write, is_out_of_memory, read_arrays, with_hint, write_json

SHIPPED = Path(__file__).parent / "presets"
CONFIG, METADATA, VOCABULARY = "config.json", "metadata.json", "vocabulary.txt"
WEIGHTS, CORPUS = "model.weights.h5", "corpus.npz"
HINT_PRESET = "download or write the preset again"
HALF = float(np.finfo(np.float16).max)

Weights: TypeAlias = dict[str, dict[str, np.ndarray]]
"""The weights of layers: by the layer's name, then by the weight's."""


def shipped() -> list[str]:
    """The names of the presets that come with tagnet."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{CONFIG}"))


def located(name: str | Path) -> Path:
    """The folder that a model's name means: that of a shipped preset, or the name itself."""
    return SHIPPED / name if str(name) in shipped() else Path(name)


def open_model(folder: str | Path) -> ServingModel:
    """Opens a preset, a run directory, or a SavedModel; nothing in it is executed.

    Args:
        folder: one of them, or the name of a shipped preset.

    Raises:
        InputError: there is no model, or it is damaged or was written by another version.
    """
    folder = located(folder)
    return load_preset(folder) if (folder / WEIGHTS).is_file() else export.load(folder)


def write_preset(model: ServingModel, folder: str | Path) -> Path:
    """Writes a model as a preset.

    Args:
        model: the model.
        folder: must not exist.

    Returns:
        The folder.

    Raises:
        InputError: there is something of that name, or it cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: exists; choose another name or remove it")
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / CONFIG, export.described(model))
        write_json(
            temporary / METADATA,
            {
                "tagnet_version": tagnet.__version__,
                "keras_version": keras.__version__,
                "parameter_count": model.core.count_params(),
            },
        )
        model.vocabulary.save(temporary / VOCABULARY)
        _write_weights(model, temporary / WEIGHTS)
        with open(temporary / CORPUS, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **_corpus_arrays(model))
        write_checksums(temporary, [CONFIG, METADATA, VOCABULARY, WEIGHTS, CORPUS])
    return folder


def load_preset(folder: str | Path) -> ServingModel:
    """Reads what `write_preset` wrote.

    Args:
        folder: the preset, or the name of a shipped one.

    Raises:
        InputError: it is none, or it is damaged or was written by another version.
    """
    folder = located(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(
            f"{folder}: must be a preset (a folder with {CONFIG} and {WEIGHTS}), or one of "
            f"{', '.join(shipped())}"
        )
    with with_hint(HINT_PRESET):
        settings, calibration_report = export.read_settings(folder / CONFIG)
        sums = read_checksums(folder)
        verify(folder, sorted({CONFIG, VOCABULARY, WEIGHTS, CORPUS} | sums.keys()), sums)
        vocabulary = Vocabulary.load(folder / VOCABULARY, empty=True)
        arrays = read_arrays(folder / CORPUS)
        try:
            model = _model(settings, vocabulary, arrays, _read_weights(folder / WEIGHTS))
        except InputError:
            raise
        except Exception as error:  # damaged files fail in whatever way their bytes suggest
            if is_out_of_memory(error):
                raise
            raise InputError(f"{folder}: is damaged ({reason_of(error)})") from error
    model.calibration_report = calibration_report
    return model


def _corpus_arrays(model: ServingModel) -> dict[str, np.ndarray]:
    corpus = model.corpus
    tags, labels = corpus.tags.numpy(), corpus.labels.numpy()
    arrays = {
        "image_ids": _text(corpus.image_ids),
        "words": _text(corpus.words),
        # The values of a feature side by side compress to three quarters of those of an image.
        "phi": np.ascontiguousarray(corpus.phi.table.numpy().T),
        "tags": tags.ids,
        "tag_offsets": tags.offsets,
        "labels": labels.ids,
        "label_offsets": labels.offsets,
        "validation_scores": model.validation_scores.numpy(),
        "validation_labels": model.validation_labels.numpy(),
    }
    arrays |= {f"beta_{name}": _half(beta.numpy()) for name, beta in model.beta.items()}
    if model.vocabulary.words != tuple(arrays["words"]):  # then ρ is of vectors that are gone
        arrays |= {f"rho_{name}": table.table.numpy() for name, table in corpus.rho.items()}
    return arrays


def _model(
    settings: ServingSettings,
    vocabulary: Vocabulary,
    arrays: dict[str, np.ndarray],
    weights: Weights,
) -> ServingModel:
    """Builds a model from the arrays of a preset."""
    images = TaggedImages(
        arrays["image_ids"].tolist(),
        np.ascontiguousarray(arrays["phi"].T),
        TagLists(arrays["tags"], arrays["tag_offsets"]),
        TagLists(arrays["labels"], arrays["label_offsets"]),
    )
    beta = {name: arrays[f"beta_{name}"].astype(np.float32) for name in settings.encodings}
    tables = {
        name: arrays[f"rho_{name}"]
        if f"rho_{name}" in arrays
        else rho(images.tags, Embedding(vectors, np.ones(len(vectors), bool)))
        for name, vectors in beta.items()
    }

    def of_layer(layer: keras.Layer) -> list[np.ndarray]:
        if layer.name in weights:
            return [weights[layer.name][variable.name] for variable in layer.weights]
        references = comparison_weights(images.phi, _encoded(settings, vocabulary, images, tables))
        return references[layer.name[-1]]

    core = float32_model(settings.arch, settings.graph, of_layer)
    corpus = Corpus(images, arrays["words"].tolist(), tables)
    model = ServingModel(settings, core, vocabulary, beta, corpus)
    model.calibrate(arrays["validation_scores"], arrays["validation_labels"])
    return model


def _write_weights(model: ServingModel, path: Path) -> None:
    """Writes the weights, but for those of references that are the corpus."""
    implied = _references(model)
    with h5py.File(path, "w") as file:
        for layer in model.core.layers:
            values = layer.get_weights()
            if layer.name in implied and _alike(values, implied[layer.name]):
                continue
            for variable, array in zip(layer.weights, values, strict=True):
                name = f"{layer.name}/{variable.name}"
                file.create_dataset(name, data=_half(array), compression="gzip")


def _read_weights(path: Path) -> Weights:
    """Reads the weights; links are not followed, which could lead out of the file."""
    with h5py.File(path) as file:
        return {
            layer: {name: array[()].astype(np.float32) for name, array in _inside(group)}
            for layer, group in _inside(file)
        }


def _inside(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield name, group[name]


def _references(model: ServingModel) -> dict[str, list[np.ndarray]]:
    """The weights of kernel paths' comparing layers, were their references the corpus."""
    settings, corpus = model.settings, model.corpus
    if settings.graph.references != len(corpus):
        return {}
    phi = corpus.phi.table.numpy()
    images = TaggedImages([], phi, corpus.tags.numpy(), corpus.labels.numpy())
    tables = {name: table.table.numpy() for name, table in corpus.rho.items()}
    ends = comparison_weights(phi, _encoded(settings, model.vocabulary, images, tables))
    return {
        f"{path.name}{end}": weights
        for path in fixed_paths(model.core)
        for end, weights in ends.items()
    }


def _encoded(
    settings: ServingSettings,
    vocabulary: Vocabulary,
    images: TaggedImages,
    tables: Mapping[str, np.ndarray],
) -> np.ndarray:
    """π of images, [C, n]."""
    feed = settings.graph.feed
    return images.tags.multi_hot(len(vocabulary)) if feed == "id" else tables[str(feed)]


def _alike(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return all(
        one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-6)
        for one, other in zip(some, others, strict=True)
    )


def _half(values: np.ndarray) -> np.ndarray:
    """Numbers in float16, or as they are where one would overflow."""
    return values.astype(np.float16) if np.abs(values).max(initial=0) <= HALF else values


def _text(words: tf.Variable) -> np.ndarray:
    return np.array([word.decode() for word in words.numpy()], str)
