"""A photo and its tags → ranked labels and the neighbours that contributed.

from tagnet import Annotator
annotator = Annotator.load("runs/ltwin")
annotation = annotator.annotate("photo.jpg", ["beach", "sunset"])
print(annotation.labels[0].name, annotation.labels[0].probability)
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tagnet.backbones.features import Backbone, backbone_of, extract
from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tags import TagLists, Vocabulary, normalise
from tagnet.errors import InputError
from tagnet.evaluation import calibration
from tagnet.photos.images import ImageSource
from tagnet.serving.corpus import Corpus, TaggedImages
from tagnet.serving.export import write_saved_model
from tagnet.serving.model import BATCH, ServingModel
from tagnet.serving.preset import load_preset, open_model, write_preset
from tagnet.settings import MAX_TAGS
from tagnet.system.console import counted

Photo: TypeAlias = ImageSource
"""A path, a file's bytes, a PIL image, a uint8 array [height, width, 3], or Φ of it, [D]."""


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A neighbour: an image of the corpus.

    Attributes:
        image_id: its name in the data set.
        distance: Jaccard or cosine, of tags, or of features where `by_features`.
        tags, labels: its own.
    """

    image_id: str
    distance: float
    tags: tuple[str, ...]
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Shares:
    """The parts that a score is the sum of.

    Attributes:
        picture: contribution of the image's own features.
        tags: contribution of its own tags.
        neighbours: contribution of each neighbour, in their order.
        constant: the part that all images share.
    """

    picture: float
    tags: float
    neighbours: tuple[float, ...]
    constant: float


@dataclasses.dataclass(frozen=True)
class Label:
    """One label of an image.

    Attributes:
        name: the label.
        probability: calibrated on the validation split.
        score: the model's logit (eq. 2).
        shares: contributions to the score; None for LSTM models, whose scores cannot be split.
    """

    name: str
    probability: float
    score: float
    shares: Shares | None


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The result of annotating an image.

    Attributes:
        labels: the most probable first.
        neighbours: the nearest first; empty for `v_only`, which uses none.
        known_tags: the given tags that the model knows, as it spells them.
        unknown_tags: the tags that it does not know.
        by_features: true if no tag was recognised, so that the neighbours are visually
            similar images.
    """

    labels: tuple[Label, ...]
    neighbours: tuple[Neighbour, ...]
    known_tags: tuple[str, ...]
    unknown_tags: tuple[str, ...]
    by_features: bool


class Annotator:
    """Annotates photos with a trained model.

    Args:
        deployment: the model.
        weights: the backbone's weight file; None uses downloaded or bundled weights.
    """

    def __init__(self, deployment: ServingModel, weights: Path | None = None) -> None:
        self._deployment = deployment
        self._weights = weights
        corpus = deployment.corpus
        self._words = [word.decode() for word in corpus.words.numpy()]
        self._image_ids = [name.decode() for name in corpus.image_ids.numpy()]
        self._tags, self._labels = corpus.tags.numpy(), corpus.labels.numpy()
        self._answer = deployment.function(explain=deployment.can_be_split)

    @classmethod
    def load(cls, folder: str | Path, weights: str | Path | None = None) -> "Annotator":
        """Opens a run directory, a SavedModel or a preset; nothing in it is executed.

        Args:
            folder: a run, its `saved_model`, or a version in that; or a preset, see `from_preset`.
            weights: the file of the backbone's weights, where it has no others.

        Raises:
            InputError: there is no model, or it was written by another version.
        """
        return cls(open_model(folder), None if weights is None else Path(weights))

    @classmethod
    def from_preset(cls, preset: str | Path, weights: str | Path | None = None) -> "Annotator":
        """Opens a model that comes with tagnet, or one that `save_to_preset` wrote.

        Args:
            preset: `ltwin_kernel_coco`, or a folder.
            weights: the file of the backbone's weights, where it has no others.

        Raises:
            InputError: there is no such preset, or it is damaged or of another version.
        """
        return cls(load_preset(preset), None if weights is None else Path(weights))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the model knows."""
        return self._deployment.settings.labels

    @property
    def digest(self) -> str:
        """Identifies this model: SHA-256 of its weights, corpus and vocabulary."""
        model = self._deployment
        weights = [weight for layer in model.weights.values() for weight in layer]
        words = [*self.vocabulary, *self.labels, *self._image_ids]
        digest = hashlib.sha256("\n".join(words).encode())
        calibrated_by = [model.slope, model.offset]
        for part in [*weights, *calibrated_by, *model.beta.values(), model.corpus.phi.table]:
            digest.update(np.ascontiguousarray(part.numpy()).data)
        for lists in (self._tags, self._labels):
            digest.update(lists.ids.tobytes() + lists.offsets.tobytes())
        return digest.hexdigest()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tags that the model knows."""
        return self._deployment.vocabulary.words

    @property
    def arch(self) -> str:
        """The model's architecture, a key of `ARCHITECTURES`."""
        return self._deployment.settings.arch

    @property
    def explains(self) -> bool:
        """Whether its scores can be split into `Shares`; not for LSTM models."""
        return self._deployment.can_be_split

    @property
    def tag_distance(self) -> str:
        """What the distance between the tags of two images is: `Jaccard` or `cosine`."""
        return "Jaccard" if self._deployment.encoding == "id" else "cosine"

    @property
    def reads_photographs(self) -> bool:
        """Whether it accepts photos; otherwise only feature vectors."""
        return self._deployment.settings.backbone is not None

    def save(self, directory: str | Path) -> Path:
        """Writes a SavedModel with the current vocabulary and corpus.

        Args:
            directory: what a server is given; the version 1 in it is replaced.

        Returns:
            The folder of that version.
        """
        return write_saved_model(self._deployment, directory)

    def save_to_preset(self, folder: str | Path) -> Path:
        """Writes a small folder that `from_preset` opens, with weights in float16.

        It holds the current vocabulary and corpus, as `save` does, but no graph: a server
        needs `save`.

        Args:
            folder: must not exist.

        Returns:
            The folder.
        """
        return write_preset(self._deployment, folder)

    def features(
        self,
        photos: Sequence[Photo],
        on_error: Callable[[int, InputError], None] | None = None,
    ) -> np.ndarray:
        """Computes Φ of photos, float32 [N, D], which `annotate` accepts in their place.

        Args:
            photos: N.
            on_error: called with the position and the error of a photograph that cannot
                be read; it then has no row in the result.

        Raises:
            InputError: one cannot be read and there is no `on_error`.
        """
        settings = self._deployment.settings
        dim = settings.graph.feature_dim
        vectors = [photo for photo in photos if isinstance(photo, np.ndarray) and photo.ndim == 1]
        for vector in vectors:
            if vector.shape != (dim,) or not np.isfinite(vector).all():
                raise InputError(
                    f"a feature vector must be {dim} finite numbers; received {vector.shape}"
                )
        if len(vectors) == len(photos):
            return np.array(vectors, np.float32).reshape(-1, dim)
        if not self.reads_photographs:
            raise InputError(
                "the model was trained on features of an unnamed network; "
                "pass feature vectors instead of photos"
            )
        return extract(self.backbone, photos, on_error=on_error)

    @functools.cached_property
    def backbone(self) -> Backbone:
        """The network that Φ is of.

        Raises:
            InputError: the model does not name one, or it cannot be had.
        """
        settings = self._deployment.settings
        name = settings.backbone or ""
        found = backbone_of(name, self._weights, settings.backbone_settings)
        if found.dim != settings.graph.feature_dim:
            raise InputError(
                f"{name}: must give the {settings.graph.feature_dim} features of the model; "
                f"received {found.dim}"
            )
        return found

    def annotate(self, photo: Photo, tags: Sequence[str] = ()) -> Annotation:
        """Annotates one photograph.

        Args:
            photo: see `Photo`.
            tags: what people wrote about it.

        Raises:
            InputError: the photograph cannot be read, or the tags cannot be used.
        """
        return self.annotate_all([photo], [tags])[0]

    def annotate_all(
        self, photos: Sequence[Photo], tags: Sequence[Sequence[str]]
    ) -> list[Annotation]:
        """Annotates many photographs.

        Args:
            photos: N, all features or none of them.
            tags: N lists.

        Raises:
            InputError: see `annotate`.
        """
        if len(photos) != len(tags):
            raise InputError(
                f"each photo needs a list of tags; received {counted(len(photos), 'photo')} "
                f"and {counted(len(tags), 'list')}"
            )
        for given in tags:
            if isinstance(given, str) or len(given) > MAX_TAGS:
                received = repr(given) if isinstance(given, str) else f"{len(given)} tags"
                raise InputError(
                    f"tags must be a list of at most {MAX_TAGS} strings; received {received}"
                )
        phi = self.features(photos)
        annotations: list[Annotation] = []
        for first in range(0, len(tags), BATCH):
            some = slice(first, first + BATCH)
            annotations += self._annotate(phi[some], tags[some])
        return annotations

    @property
    def validation_images(self) -> int:
        """How many images the probabilities were calibrated on."""
        return len(self._deployment.validation_labels.numpy())

    def thresholds(self, precision: float) -> dict[str, float]:
        """For each label, the lowest threshold that is expected to reach `precision`.

        A label for which none reaches it has an infinite threshold.
        """
        model = self._deployment
        probabilities = model.probabilities(model.validation_scores).numpy()
        chosen = calibration.thresholds(probabilities, model.validation_labels.numpy(), precision)
        return dict(zip(self.labels, chosen.tolist(), strict=True))

    def with_vocabulary(self, words: Sequence[str], vectors: np.ndarray) -> "Annotator":
        """The same model for other tags, given vectors of the same space (π̃ of section 3.1).

        The corpus keeps its tags and their vectors. Tag sets of two vocabularies share
        nothing, so neighbours are found by the vectors that are fed, also where sets found
        them in training; until `with_images` brings a corpus of the new vocabulary.

        Args:
            words: the new vocabulary, τ' words.
            vectors: float [τ', n], n as in training.

        Raises:
            InputError: the model reads no vectors, or these do not fit.
        """
        settings = self._deployment.settings
        feed = settings.graph.feed
        if feed in (None, "id"):
            raise InputError(
                "another vocabulary needs a model trained with --feed=w2v or wnet; "
                f"received a model fed with {feed or 'no tags'}"
            )
        shape = (len(words), settings.graph.tag_dim)
        if np.shape(vectors) != shape or not np.isfinite(vectors).all():
            raise InputError(
                f"vectors must be finite numbers {list(shape)}; received {list(np.shape(vectors))}"
            )
        places = {normalise(word): row for row, word in reversed(list(enumerate(words)))}
        places.pop("", None)
        rows = sorted(places.values())
        chosen = np.asarray(vectors, np.float32)[rows]
        distance = "id" if settings.neighbours == "id" else feed
        return self._changed(
            settings=dataclasses.replace(settings, neighbours=distance),
            vocabulary=Vocabulary(tuple(normalise(words[row]) for row in rows)),
            beta={feed: chosen},
        )

    def with_images(
        self,
        photos: Sequence[Photo],
        tags: Sequence[Sequence[str]],
        labels: Sequence[Sequence[str]] | None = None,
        image_ids: Sequence[str] | None = None,
    ) -> "Annotator":
        """The same model with the neighbours taken from other tagged photographs.

        Args:
            photos: at least m.
            tags: tags of each.
            labels: labels of each, if known; only displayed, the model does not use them.
            image_ids: names [0, 1, …].

        Raises:
            InputError: there are too few, one cannot be read, or a label is unknown.
        """
        place = {name: number for number, name in enumerate(self.labels)}
        labels = labels or [()] * len(tags)
        for name in {name for names in labels for name in names}:
            if name not in place:
                raise InputError(
                    f"labels must be among the model's {len(place)}; received {name!r}"
                )
        vocabulary = self._deployment.vocabulary
        images = TaggedImages(
            image_ids or [str(number) for number in range(len(photos))],
            self.features(photos).astype(np.float16),
            vocabulary.encode_all(tags),
            TagLists.from_lists([[place[n] for n in names] for names in labels]),
        )
        if not len(images.image_ids) == len(photos) == len(images.tags) == len(images.labels):
            raise InputError("photos, tags, labels and image_ids must have the same length")
        known = np.ones(len(vocabulary), bool)
        tables = {
            name: rho(images.tags, Embedding(beta.numpy(), known))
            for name, beta in self._deployment.beta.items()
        }
        return self._changed(corpus=Corpus(images, vocabulary.words, tables))

    def _changed(self, **changes: Any) -> "Annotator":
        old = self._deployment
        parts: dict[str, Any] = {
            "settings": old.settings,
            "core": old.core,
            "vocabulary": old.vocabulary,
            "beta": {name: beta.numpy() for name, beta in old.beta.items()},
            "corpus": old.corpus,
        }
        new = ServingModel(**parts | changes)
        new.calibrate(old.validation_scores.numpy(), old.validation_labels.numpy())
        return Annotator(new, self._weights)

    def _annotate(self, phi: np.ndarray, tags: Sequence[Sequence[str]]) -> list[Annotation]:
        """Images of one batch."""
        vocabulary = self._deployment.vocabulary
        lists = vocabulary.encode_all(tags)
        ids = tf.RaggedTensor.from_row_splits(lists.ids, lists.offsets)
        answers = {name: value.numpy() for name, value in self._answer(phi, ids).items()}
        annotations = []
        for row, given in enumerate(tags):
            known = vocabulary.decode(lists[row])
            spelt = dict.fromkeys(filter(None, map(normalise, given)))
            annotations.append(
                Annotation(
                    labels=self._ranked(answers, row),
                    neighbours=self._neighbours(answers, row),
                    known_tags=tuple(known),
                    unknown_tags=tuple(tag for tag in spelt if tag not in set(known)),
                    by_features=bool(answers["by_features"][row]),
                )
            )
        return annotations

    def _ranked(self, answers: dict[str, np.ndarray], row: int) -> tuple[Label, ...]:
        probabilities = answers["probabilities"][row]
        return tuple(
            Label(
                self.labels[label],
                float(probabilities[label]),
                float(answers["scores"][row, label]),
                Shares(
                    picture=float(answers["picture"][row, label]),
                    tags=float(answers["tags"][row, label]),
                    neighbours=tuple(answers["neighbour_shares"][row, :, label].tolist()),
                    constant=float(answers["constant"][label]),
                )
                if self._deployment.can_be_split
                else None,
            )
            for label in np.argsort(-probabilities, kind="stable")
        )

    def _neighbours(self, answers: dict[str, np.ndarray], row: int) -> tuple[Neighbour, ...]:
        if not self._deployment.reads_neighbours:
            return ()
        return tuple(
            Neighbour(
                self._image_ids[place],
                float(distance),
                tuple(self._words[tag] for tag in self._tags[place]),
                tuple(self.labels[label] for label in self._labels[place]),
            )
            for place, distance in zip(
                answers["neighbours"][row], answers["distances"][row], strict=True
            )
        )
