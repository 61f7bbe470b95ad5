"""A trained model with everything needed to annotate: vocabulary, β, corpus, calibration.

The same TensorFlow code answers in Python (`annotator.py`) and inside the SavedModel
(`export.py`), so the two cannot differ.

Shapes: B images, M neighbours, D features, L labels, h hidden units; tag ids are
ragged, int32 [B, (T)], each once an image.
"""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tagnet.data.dataset import PreparedDataset
from tagnet.data.embeddings import rho
from tagnet.data.tags import Vocabulary
from tagnet.errors import InputError
from tagnet.evaluation import calibration
from tagnet.evaluation.scoring import draw_subsets
from tagnet.models import architectures
from tagnet.models.layers import PADDING
from tagnet.models.parts import Parts, is_order_sensitive, outputs
from tagnet.models.plain import plain_keras
from tagnet.serving.corpus import Corpus, TaggedImages
from tagnet.serving.explanation import Explanation
from tagnet.settings import GraphSettings, ServingSettings

BATCH = 128  # images answered together; their neighbours are often the same
CALIBRATION_IMAGES = 2000  # of the validation split, at most, and of the test split
SUBSETS_SEED = 0  # of the neighbourhoods that an LSTM graph averages over: the same for all images


class ServingModel(tf.Module):
    """A model, its corpus and its calibration.

    A score is the mean of f over neighbourhoods as in eq. 2: exact for max-pool graphs;
    LSTM graphs average over `samples` subsets of the M nearest, the same for every image.

    Args:
        settings: what it is.
        core: the trained graph; its weights are copied.
        vocabulary: the tags that can be given.
        beta: β of the vocabulary, float32 [τ, n], for each of `settings.encodings`.
        corpus: the images that neighbours come from.

    Raises:
        InputError: the corpus is smaller than a neighbourhood.
    """

    def __init__(
        self,
        settings: ServingSettings,
        core: keras.Model,
        vocabulary: Vocabulary,
        beta: Mapping[str, np.ndarray],
        corpus: Corpus,
    ) -> None:
        super().__init__()
        if len(corpus) < settings.graph.m:
            raise InputError(
                f"corpus: must hold at least m = {settings.graph.m} images; received {len(corpus)}"
            )
        self.settings = settings
        self.vocabulary = vocabulary
        self.corpus = corpus
        # As a function, since of a model every weight would be saved twice.
        self._core = lambda: core
        self._parts = Parts.of(core)
        self.calibration_report: calibration.CalibrationReport | None = None
        self.beta = {name: tf.Variable(beta[name], trainable=False) for name in settings.encodings}
        L = len(settings.labels)
        self.slope = tf.Variable(tf.ones([L]), trainable=False)  # of each label's probability
        self.offset = tf.Variable(tf.zeros([L]), trainable=False)
        empty = tf.zeros([0, L])
        self.validation_scores = tf.Variable(empty, trainable=False, shape=[None, L])
        self.validation_labels = tf.Variable(empty, trainable=False, shape=[None, L])
        self.weights = {layer.name: _variables(layer) for layer in core.layers if layer.weights}
        same_words = vocabulary.words == tuple(word.decode() for word in corpus.words.numpy())
        self._encoding = settings.neighbours if same_words else (settings.graph.feed or "id")
        self.M = min(settings.max_rank, len(corpus)) if self.reads_neighbours else 0
        self._hidden, self._head = _cut(core, self._parts.layers)
        self._explanation = Explanation(core, self._parts, self.M, settings.graph.m)
        self._subsets = None
        if is_order_sensitive(core):
            m, samples = settings.graph.m, settings.samples
            self._subsets = draw_subsets(1, self.M, m, samples, SUBSETS_SEED)[0]

    @property
    def core(self) -> keras.Model:
        """The graph."""
        return self._core()

    def answer(
        self, phi: tf.Tensor, ids: tf.RaggedTensor, explain: bool = False
    ) -> dict[str, tf.Tensor]:
        """Annotates images.

        Args:
            phi: φ_x, float32 [B, D].
            ids: their tags.
            explain: whether to split the scores of a max-pool graph into their `shares`.

        Returns:
            `scores` and `probabilities` float32 [B, L]; `neighbours` int32 [B, M] (rows of
            the corpus, nearest first) and `distances` float32 [B, M]; `by_features` bool [B],
            whether the tags said nothing, so that the neighbours are the nearest by Φ.
            With `explain`, `picture` and `tags` [B, L], `neighbour_shares` [B, M, L] and
            `constant` [L], whose sum the scores are.
        """
        rows, distances, by_features = self.nearest(phi, ids)
        scores, vectors = self.fuse(phi, ids, rows)
        answers = {
            "scores": scores,
            "probabilities": self.probabilities(scores),
            "neighbours": rows,
            "distances": distances,
            "by_features": by_features,
        }
        return answers | self._explanation(phi, vectors) if explain else answers

    def function(self, explain: bool = False) -> tf.types.experimental.PolymorphicFunction:
        """`answer` as one compiled function of `phi` and `ids`."""
        phi = tf.TensorSpec([None, self.settings.graph.feature_dim], tf.float32)
        ids = tf.RaggedTensorSpec([None, None], tf.int32)
        return tf.function(
            # Run eagerly, for debugging, a function is given arrays as they are.
            lambda phi, ids: self.answer(tf.convert_to_tensor(phi), ids, explain),
            input_signature=[phi, ids],
            autograph=False,
        )

    def probabilities(self, scores: tf.Tensor) -> tf.Tensor:
        """Calibrated probabilities of scores, both [B, L]."""
        return tf.sigmoid(self.slope * scores + self.offset)

    def calibrate(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Calibrates the probabilities on images that the model was not trained on; stores those.

        Args:
            scores: of the validation split, [n, L].
            labels: 0 and 1, [n, L].
        """
        self.validation_scores.assign(scores)
        self.validation_labels.assign(labels)
        lines = calibration.fit_lines(scores, labels)
        self.slope.assign(lines.slope.astype(np.float32))
        self.offset.assign(lines.offset.astype(np.float32))

    def report_calibration(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Evaluates the probabilities and stores the result in `calibration_report`.

        Args:
            scores: of images that nothing was fitted to, [n, L].
            labels: 0 and 1, [n, L].
        """
        self.calibration_report = calibration.CalibrationReport(
            len(scores),
            calibration.reliability(tf.sigmoid(scores).numpy(), labels),
            calibration.reliability(self.probabilities(scores).numpy(), labels),
        )

    @property
    def lines(self) -> calibration.Lines:
        """What `probabilities` computes with."""
        return calibration.Lines(self.slope.numpy(), self.offset.numpy())

    @property
    def encoding(self) -> str:
        """The encoding of tags whose distance picks the neighbours."""
        return self._encoding

    @property
    def reads_neighbours(self) -> bool:
        """Whether the model uses neighbours; `v_only` does not."""
        return bool(self._parts.neighbour)

    @property
    def can_be_split(self) -> bool:
        """Whether `answer` can split a score into contributions; not for LSTM models."""
        return bool(self._parts.paths)

    def nearest(
        self, phi: tf.Tensor, ids: tf.RaggedTensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Neighbours by tags; by Φ for images without a usable tag, as in `neighbours.nearest`."""
        if not self.reads_neighbours:
            count = tf.shape(phi)[0]
            return tf.zeros([count, 0], tf.int32), tf.zeros([count, 0]), tf.zeros([count], tf.bool)
        encoding = self._encoding
        if encoding == "id":
            usable = ids.row_lengths() > 0
        else:
            encoded = self._rho(encoding, ids)
            usable = tf.reduce_any(encoded != 0, axis=1)

        def by_tags() -> tuple[tf.Tensor, tf.Tensor]:
            if encoding == "id":
                return self.corpus.nearest_by_tags(tf.ragged.boolean_mask(ids, usable), self.M)
            return self.corpus.rho[encoding].nearest(tf.boolean_mask(encoded, usable), self.M)

        def by_features() -> tuple[tf.Tensor, tf.Tensor]:
            return self.corpus.phi.nearest(tf.boolean_mask(phi, ~usable), self.M)

        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            return tf.zeros([0, self.M], tf.int32), tf.zeros([0, self.M])

        found = [
            tf.cond(tf.reduce_any(usable), by_tags, nothing),
            tf.cond(tf.reduce_all(usable), nothing, by_features),
        ]
        places = [tf.cast(tf.where(which)[:, 0], tf.int32) for which in (usable, ~usable)]
        rows, distances = (
            tf.ensure_shape(tf.dynamic_stitch(places, list(parts)), [None, self.M])
            for parts in zip(*found, strict=True)
        )
        return rows, distances, ~usable

    def fuse(
        self, phi: tf.Tensor, ids: tf.RaggedTensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Scores images that have the neighbours `rows` int32 [B, M].

        Returns:
            The scores [B, L], and the outputs of the layers before the pooling by name.
        """
        # Encoded once each, as the neighbours of one image: some are neighbours of several.
        needed, places = tf.unique(tf.reshape(rows, [-1]))
        vectors = self._hidden(self._inputs(phi, ids, needed[None]))
        places = tf.reshape(places, tf.shape(rows))
        vectors |= {name: tf.gather(vectors[name][0], places) for name in self._parts.neighbour}
        return self._scores(vectors), vectors

    def _inputs(
        self, phi: tf.Tensor, ids: tf.RaggedTensor, rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The tensors that the graph reads, by name."""
        feed = self.settings.graph.feed or "id"
        given = {
            "phi_x": lambda: phi,
            "phi_z": lambda: self.corpus.phi.gather(rows),
            "pi_x": lambda: ids.to_tensor(PADDING) if feed == "id" else self._rho(feed, ids),
            "pi_z": lambda: (
                tf.gather(self.corpus.tags.ragged(), rows).to_tensor(PADDING)
                if feed == "id"
                else self.corpus.rho[feed].gather(rows)
            ),
        }
        return {tensor.name: given[tensor.name]() for tensor in self.core.inputs}

    def _rho(self, encoding: str, ids: tf.RaggedTensor) -> tf.Tensor:
        """ρ(o_x; β) of eq. 6, summed in float64 as `embeddings.rho` does: float32 [B, n]."""
        vectors = tf.cast(tf.gather(self.beta[encoding], ids.values), tf.float64)
        count = tf.shape(ids.row_splits, tf.int64)[0] - 1
        sums = tf.math.unsorted_segment_sum(vectors, ids.value_rowids(), count)
        return tf.cast(sums, tf.float32)

    def _scores(self, vectors: dict[str, tf.Tensor]) -> tf.Tensor:
        """F averaged over neighbourhoods, from the outputs of the layers before the pooling."""
        if self._subsets is None:
            return self._head(vectors)
        samples, m = self._subsets.shape
        drawn = {}
        for name, vector in vectors.items():
            if name in self._parts.neighbour:
                chosen = tf.gather(vector, self._subsets, axis=1)  # [B, S, m, h]
                drawn[name] = tf.reshape(chosen, [-1, m, vector.shape[2]])
            else:
                drawn[name] = tf.repeat(vector, samples, axis=0)
        scores = self._head(drawn)
        return tf.reduce_mean(tf.reshape(scores, [-1, samples, scores.shape[1]]), axis=1)


def build_serving_model(
    core: keras.Model,
    dataset: PreparedDataset,
    *,
    split: int = 0,
    neighbours: str = "id",
    max_rank: int = 24,
    samples: int = 10,
) -> ServingModel:
    """Builds a serving model with the training images as its corpus.

    It is calibrated on the validation split, and judged on the test split.

    Args:
        core: the trained model, of `architectures.build`.
        dataset: what it was trained on.
        split: index of the split.
        neighbours: encoding whose distance picks the neighbours.
        max_rank: M.
        samples: how many neighbourhoods an LSTM model averages over.

    Returns:
        The deployment, in float32 whatever the precision that the graph was trained in.
    """
    settings = ServingSettings(
        arch=core.name,
        graph=core.graph_settings,
        neighbours=neighbours,
        max_rank=max_rank,
        samples=samples,
        labels=dataset.label_names,
        backbone=dataset.info["backbone"],
        backbone_settings=dataset.info.get("backbone_settings"),
    )
    rows = dataset.split(split)
    embeddings = {name: dataset.embedding(name) for name in settings.encodings}
    images = TaggedImages.of(dataset, rows["train"])
    deployment = ServingModel(
        settings,
        float32_model(
            settings.arch, settings.graph, lambda layer: core.get_layer(layer.name).get_weights()
        ),
        dataset.vocabulary,
        {name: beta.vectors for name, beta in embeddings.items()},
        Corpus(
            images,
            dataset.vocabulary.words,
            {name: rho(images.tags, beta) for name, beta in embeddings.items()},
        ),
    )
    answer = deployment.function()
    deployment.calibrate(*_scored(answer, dataset, rows["validation"]))
    deployment.report_calibration(*_scored(answer, dataset, rows["test"]))
    return deployment


def _scored(
    answer: Callable, dataset: PreparedDataset, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels [n, L] of images from all over `rows`, as they would be answered."""
    places = np.linspace(0, len(rows) - 1, min(CALIBRATION_IMAGES, len(rows))).astype(int)
    rows = rows[places]
    scores = []
    for first in range(0, len(rows), BATCH):
        some = rows[first : first + BATCH]
        tags = dataset.tags.select(some)
        ids = tf.RaggedTensor.from_row_splits(tags.ids, tags.offsets)
        scores.append(answer(dataset.features[some].astype(np.float32), ids)["scores"])
    return np.concatenate(scores), dataset.labels[rows]


def _variables(layer: keras.Layer) -> list[tf.Variable]:
    return [weight.value for weight in layer.weights]


def _cut(
    core: keras.Model, names: Sequence[str]
) -> tuple[Callable[..., dict[str, tf.Tensor]], Callable[..., tf.Tensor]]:
    """The model up to the layers `names` (inputs → their outputs), and after them (→ scores)."""
    hidden = keras.Model(core.inputs, dict(zip(names, outputs(core, names), strict=True)))
    head = None
    if all(output is not core.output for output in outputs(core, names)):  # as it is in `v_only`
        head = keras.Model(outputs(core, names), core.output)

    def before(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        vectors = hidden(inputs, training=False)
        return {name: vectors[name] for name in names}  # in this order, whatever Keras makes of it

    def behind(vectors: dict[str, tf.Tensor]) -> tf.Tensor:
        given = [vectors[name] for name in names]
        return given[0] if head is None else head(given, training=False)

    return before, behind


def float32_model(
    arch: str, graph: GraphSettings, weights: Callable[[keras.Layer], list[np.ndarray]]
) -> keras.Model:
    """Builds a model in float32, whatever the precision policy.

    Args:
        arch: a key of `ARCHITECTURES`.
        graph: its sizes.
        weights: a layer → its weights, in Keras' order.
    """
    with plain_keras():
        core = architectures.build(arch, graph)
    for layer in core.layers:
        if layer.weights:
            layer.set_weights(weights(layer))
    return core
