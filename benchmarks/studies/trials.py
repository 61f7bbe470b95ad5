"""The trials of beyond.py: what each changes in `ltwin`, and the network that it makes of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.runs.presets import auto
from tagnet.data.dataset import PreparedDataset
from tagnet.data.embeddings import rho
from tagnet.models.layers import mean_subset_max
from tagnet.settings import PARTS

PRESET = auto("ltwin", images=2520)
LABELS_L2 = 1e-4  # λ of the path from neighbours' labels
SMALLEST = 0.02  # a share of neighbours below this, or above 1 minus this, counts as this


@dataclasses.dataclass(frozen=True)
class Trial:
    """What differs from `ltwin` fed with w2v; symbols as in `tagnet.models.architectures`.

    Attributes:
        feed: π: `w2v`, `wnet`, `id`, or `both`, [o; ρ] with ρ of w2v.
        words: how an image's words are pooled where each has a vector of its own,
            u_x = pool_t σ(W_xu β(t) + b): `max`, `sum`; None as in the paper, σ(W_xu Σ_t β(t) + b).
        neighbour_words: the same for π_z.
        free: with `words`, a free vector of each word is added to W_xu β(t).
        unit: φ about the mean of the training images and of this length; 0 leaves it.
        wide: a linear path W_o [a φ̂; b o_x] added to the scores, with these a and b, φ̂ of unit
            length; None: none.
        wide_l2: λ of W_o.
        wide_norm: φ̂ is `centred` (about the training images' mean) or `unit` (φ / ‖φ‖).
        apart: every path has a loss of its own; scores are the mean of their logits.
        labels: a linear path from the logits of the shares of the image's nearest training
            images (itself left out) that have each label, weighted by the distance of tags.
        pool: over the neighbours, `max`, `attention` (key: the image's tags and pixels),
            `distance`, or two of them joined by +.
        average: decay of the running mean of the weights that is scored; 0: the last.
        exact: trained on the expectation over neighbourhoods in place of one draw.
        loss: `plain`, `asymmetric` (a negative counts by the square of its probability),
            `ranking` (adds a pairwise logistic loss within the batch), `balanced` (a label
            counts by the root of its rarity).
        tag_drop: a training image loses each of its tags with a probability that is drawn up to
            twice this.
        correlation: a linear layer from the probabilities of all labels to each score.
        input_drop: dropout of φ_x.
        smoothing: labels are mixed with so much of their frequency.
    """

    feed: str = "w2v"
    words: str | None = None
    neighbour_words: bool = False
    free: bool = False
    unit: float = 0.0
    wide: tuple[float, float] | None = None
    wide_l2: float = 1e-4
    wide_norm: str = "centred"
    apart: bool = False
    labels: bool = False
    pool: str = "max"
    average: float = 0.0
    exact: bool = False
    loss: str = "plain"
    tag_drop: float = 0.0
    correlation: bool = False
    input_drop: float = 0.0
    smoothing: float = 0.0


# a and b set how far a step of RMSProp goes, too.
LINEAR: dict[str, Any] = {"wide": (80.0, 40.0), "wide_l2": 0.8, "wide_norm": "unit"}
TRIALS = {
    "base": Trial(),
    "base, id": Trial(feed="id"),
    "both feeds": Trial(feed="both"),
    "unit features": Trial(unit=20.0),
    "words by max": Trial(words="max"),
    "words by max, neighbours too": Trial(words="max", neighbour_words=True),
    "words by max, free vectors": Trial(words="max", free=True),
    "words by sum, free, neighbours too": Trial(words="sum", neighbour_words=True, free=True),
    "linear path, short steps": Trial(wide=(5.0, 3.0)),
    "neighbours' labels": Trial(labels=True),
    "linear path, id": Trial(feed="id", **LINEAR),
    "linear path, id, apart": Trial(feed="id", apart=True, **LINEAR),
    "linear path": Trial(**LINEAR),
    "linear path, apart": Trial(apart=True, **LINEAR),
    "linear path, wnet, apart": Trial(feed="wnet", apart=True, **LINEAR),
    "base, wnet": Trial(feed="wnet"),
    "exact expectation": Trial(exact=True),
    "averaged weights": Trial(average=0.99),
    "attention and max": Trial(pool="attention+max"),
    "attention": Trial(pool="attention"),
    "distance and max": Trial(pool="distance+max"),
    "asymmetric loss": Trial(loss="asymmetric"),
    "ranking loss": Trial(loss="ranking"),
    "balanced loss": Trial(loss="balanced"),
    "tags dropped": Trial(tag_drop=0.3),
    "label correlation": Trial(correlation=True),
    "dropout of features": Trial(input_drop=0.2),
    "label smoothing": Trial(smoothing=0.1),
}


class Weights:
    """The weights of a trial, made when they are first asked for."""

    def __init__(self, l2: float, rng: np.random.Generator) -> None:
        self._l2, self._rng = l2, rng
        self.of: dict[str, tf.Variable] = {}
        self.penalties: dict[str, float] = {}

    def get(
        self, name: str, shape: tuple[int, ...], start: float | None = None, l2: float | None = None
    ) -> tf.Variable:
        """A weight: He-normal without a `start`, under the usual penalty without an `l2`."""
        if name not in self.of:
            value = np.full(shape, start, np.float32)
            if start is None:
                value = self._rng.normal(0, np.sqrt(2 / shape[0]), shape).astype(np.float32)
            self.of[name] = tf.Variable(value, name=name)
            self.penalties[name] = self._l2 if l2 is None else l2
        return self.of[name]

    def dense(self, x: tf.Tensor, name: str, units: int, **kernel: Any) -> tf.Tensor:
        """W x + b."""
        product = tf.tensordot(x, self.get(name, (x.shape[-1], units), **kernel), 1)
        return product + self.get(f"{name} b", (units,), 0.0, 0.0)

    def positive(self, name: str, start: float) -> tf.Tensor:
        """A positive number."""
        return tf.nn.softplus(self.get(name, (1,), start, 0.0))


class Problem:
    """A split of the data set as tensors; a batch is `rows` and, of each, neighbours."""

    def __init__(self, dataset: PreparedDataset, split: int) -> None:
        self.split = dataset.split(split)
        train = self.split["train"]
        phi = dataset.features.astype(np.float32)
        about = phi - phi[train].mean(axis=0)
        unit = about / np.linalg.norm(about, axis=1, keepdims=True)
        self.phi, self.unit = tf.constant(phi), tf.constant(unit)
        self.normed = {
            "centred": self.unit,
            "unit": tf.math.l2_normalize(self.phi, axis=1),
        }
        self.num_words = len(dataset.vocabulary)
        self.hot = tf.constant(dataset.tags.multi_hot(self.num_words).astype(np.float32))
        embeddings = {name: dataset.embedding(name) for name in ("w2v", "wnet")}
        self.beta = {name: tf.constant(e.vectors) for name, e in embeddings.items()}
        self.rho = {name: tf.constant(rho(dataset.tags, e)) for name, e in embeddings.items()}
        lengths = dataset.tags.lengths
        ids = np.full((len(lengths), lengths.max()), self.num_words, np.int32)  # padded by τ
        for row, own in enumerate(dataset.tags):
            ids[row, : len(own)] = own
        self.ids = tf.constant(ids)
        self.labels = dataset.labels
        known = np.zeros((len(ids), 1))
        known[train] = 1
        self.known_labels = tf.constant(np.hstack([dataset.labels * known, known]), tf.float32)
        self.frequency = dataset.labels[train].mean(axis=0).astype(np.float32)
        self._parts = {
            (part, pool): dataset.part(split, "id", pool, part, PRESET.max_rank)
            for part in PARTS
            for pool in ("open", "train")
        }

    def batch(self, part: str, places: np.ndarray, draw: np.ndarray | None = None) -> list:
        """Rows, neighbours (of all those of `draw` [B, m]), training neighbours; with distances."""
        batch = [tf.constant(self.split[part][places], tf.int32)]
        for pool in ("open", "train"):
            found = self._parts[part, pool]
            near, far = found.neighbours[places], found.distances[places]
            if pool == "open" and draw is not None:
                near, far = (np.take_along_axis(a, draw, axis=1) for a in (near, far))
            batch += [tf.constant(near, tf.int32), tf.constant(far)]
        return batch


class Network:
    """The scores of a trial."""

    def __init__(self, trial: Trial, problem: Problem, hidden: int, seed: int) -> None:
        self._trial, self._problem, self._hidden = trial, problem, hidden
        self.weights = Weights(PRESET.l2, np.random.default_rng(seed))
        self._phi = trial.unit * problem.unit if trial.unit else problem.phi

    def __call__(self, batch: Sequence[tf.Tensor], training: bool) -> tf.Tensor:
        """Logits [B, L] of a batch of `Problem.batch`."""
        rows, near, far, trained, trained_far = batch
        trial, problem, weights = self._trial, self._problem, self.weights
        ids = tf.gather(problem.ids, rows)
        if training and trial.tag_drop:
            share = 2 * trial.tag_drop * tf.random.uniform((tf.shape(ids)[0], 1))
            ids = tf.where(tf.random.uniform(tf.shape(ids)) < share, problem.num_words, ids)
        phi = tf.gather(self._phi, rows)
        if training and trial.input_drop:
            phi = tf.nn.dropout(phi, trial.input_drop)
        attention = self._attention(rows, near, far) if "attention" in trial.pool else None
        v_x = tf.nn.relu(weights.dense(phi, "W_x", self._hidden))
        if training:
            v_z = tf.nn.relu(weights.dense(tf.gather(self._phi, near), "W_z", self._hidden))
        else:  # every image once, not once for each that it is a neighbour of
            v_z = tf.gather(tf.nn.relu(weights.dense(self._phi, "W_z", self._hidden)), near)
        u_x = self._tags("W_xu", rows, ids, trial.words)
        words_z = trial.words if trial.neighbour_words else None
        u_z = self._tags("W_zu", near, tf.gather(problem.ids, near), words_z)
        vectors = [v_x, self._pooled(v_z, far, attention), u_x, self._pooled(u_z, far, attention)]
        if training:
            vectors = [tf.nn.dropout(vector, PRESET.dropout) for vector in vectors]
        labels = problem.labels.shape[1]
        paths = [weights.dense(tf.concat(vectors, axis=1), "W_y", labels)]
        if trial.wide is not None:
            pixels, tags = trial.wide
            normed = problem.normed[trial.wide_norm]
            both = tf.concat(
                [pixels * tf.gather(normed, rows), tags * self._hot(rows, ids)], axis=1
            )
            paths.append(weights.dense(both, "W_o", labels, start=0.0, l2=trial.wide_l2))
        if trial.labels:
            shares = self._label_shares(trained, trained_far)
            paths.append(weights.dense(shares, "W_t", labels, start=0.0, l2=LABELS_L2))
        if trial.apart:
            return tf.stack(paths) if training else tf.add_n(paths) / len(paths)
        scores = tf.add_n(paths)
        if trial.correlation:
            scores += weights.dense(tf.sigmoid(scores), "W_c", labels, start=0.0)
        return scores

    def _tags(self, name: str, rows: tf.Tensor, ids: tf.Tensor, words: str | None) -> tf.Tensor:
        """The hidden vectors [..., h] of the tags of `rows`: `ids` [..., T], some dropped."""
        problem, weights = self._problem, self.weights
        if words is None:
            encoded = {
                "id": lambda: [self._hot(rows, ids)],
                "w2v": lambda: [self._rho("w2v", rows, ids)],
                "wnet": lambda: [self._rho("wnet", rows, ids)],
                "both": lambda: [self._hot(rows, ids), self._rho("w2v", rows, ids)],
            }[self._trial.feed]()
            return tf.nn.relu(weights.dense(tf.concat(encoded, -1), name, self._hidden))
        of_words = weights.dense(problem.beta["w2v"], name, self._hidden)  # [τ, h]
        if self._trial.free:
            of_words += weights.get(f"{name} free", of_words.shape, 0.0)
        table = tf.concat([tf.nn.relu(of_words), tf.zeros((1, self._hidden))], axis=0)
        pool = {"max": tf.reduce_max, "sum": tf.reduce_sum}[words]
        return pool(tf.gather(table, ids), axis=-2)

    def _hot(self, rows: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """The binary vectors o [..., τ]."""
        if not self._trial.tag_drop:
            return tf.gather(self._problem.hot, rows)
        return tf.reduce_sum(tf.one_hot(ids, self._problem.num_words), axis=-2)

    def _rho(self, encoding: str, rows: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Σ_t β(t) [..., n]."""
        if not self._trial.tag_drop:
            return tf.gather(self._problem.rho[encoding], rows)
        beta = self._problem.beta[encoding]
        beta = tf.concat([beta, tf.zeros((1, beta.shape[1]))], axis=0)
        return tf.reduce_sum(tf.gather(beta, ids), axis=-2)

    def _attention(self, rows: tf.Tensor, near: tf.Tensor, far: tf.Tensor) -> tf.Tensor:
        """How much each neighbour counts, by tags, pixels and distance [B, K]; sums to 1."""
        weights = self.weights
        rho = tf.math.l2_normalize(self._problem.rho["w2v"], axis=1)
        key = weights.get("key", (rho.shape[1], 64))
        tags = tf.einsum("bh,bkh->bk", tf.gather(rho, rows) @ key, tf.gather(rho @ key, near))
        phi = self._problem.unit
        pixels = tf.einsum("bd,bkd->bk", tf.gather(phi, rows), tf.gather(phi, near))
        distance = weights.positive("by distance", 3.0) * far
        return tf.nn.softmax(tags + weights.positive("by pixels", 3.0) * pixels - distance)

    def _pooled(
        self, neighbours: tf.Tensor, far: tf.Tensor, attention: tf.Tensor | None
    ) -> tf.Tensor:
        """[B, K, h] → [B, h], or twice that where two ways are joined."""
        pooled = []
        for way in self._trial.pool.split("+"):
            if way == "max" and neighbours.shape[1] == PRESET.m:
                pooled.append(tf.reduce_max(neighbours, axis=1))
            elif way == "max":
                pooled.append(mean_subset_max(tf.unstack(neighbours, axis=1), PRESET.m))
            elif attention is not None and way == "attention":
                pooled.append(tf.reduce_sum(neighbours * attention[..., None], axis=1))
            else:
                weight = tf.nn.softmax(-self.weights.positive("nearness", 4.0) * far)
                pooled.append(tf.reduce_sum(neighbours * weight[..., None], axis=1))
        return tf.concat(pooled, axis=1)

    def _label_shares(self, near: tf.Tensor, far: tf.Tensor) -> tf.Tensor:
        """The logits of the share of training neighbours with each label [B, L], about −2."""
        weight = -self.weights.positive("label distance", 4.0) * far
        known = tf.gather(self._problem.known_labels, near)  # [B, K, L + 1]
        counted = tf.exp(weight)[..., None] * known[..., -1:]
        share = tf.reduce_sum(counted * known[..., :-1], axis=1) / tf.reduce_sum(counted, axis=1)
        logit = tf.math.log(share + SMALLEST) - tf.math.log(1 + SMALLEST - share)
        return logit + 2


def loss_of(trial: Trial, frequency: np.ndarray) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Labels and logits [B, L] → the loss."""

    def loss(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        if trial.apart:
            return tf.add_n([plain(labels, path) for path in tf.unstack(scores)])
        return plain(labels, scores)

    def plain(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        if trial.smoothing:
            labels = (1 - trial.smoothing) * labels + trial.smoothing * frequency
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, scores)
        if trial.loss == "asymmetric":
            hard = tf.sigmoid(scores) ** 2
            entropy *= labels + (1 - labels) * hard
        if trial.loss == "balanced":
            entropy *= np.sqrt(np.median(frequency) / frequency)
        total = tf.reduce_mean(tf.reduce_sum(entropy, axis=-1))
        if trial.loss == "ranking":
            pairs = labels[:, None] * (1 - labels)[None]
            wrong = tf.nn.softplus(scores[None] - scores[:, None])
            total += 5 * tf.reduce_sum(pairs * wrong) / (tf.reduce_sum(pairs) + 1)
        return total

    return loss
