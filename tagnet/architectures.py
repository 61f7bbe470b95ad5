"""The nine graphs of the paper, in its order, each beside its equation, and one of ours.

Symbols are the paper's. φ_x [D] and φ_z [K, D] are CNN features of an image x
and of its neighbours z_1 … z_K, nearest first; π_x and π_z are their encoded
tags; σ is ReLU; [a; b] joins vectors. The layer over the neighbours is one layer
whose weights all of them share. Layers are named after their weights, so that
`model.get_layer("W_x")` holds W_x and b_x.

Readings of what the paper leaves open: dropout follows every hidden ReLU vector,
after the pooling where there is one; an LSTM "with linear activation" has the
identity in place of tanh for candidate and output, its gates stay sigmoid; the
regularisation covers the kernels, not the biases.
"""

import dataclasses
from collections.abc import Callable

import keras
from keras import KerasTensor, layers

from tagnet.dropout import Dropout
from tagnet.layers import ROWS, Lookups, MaxOverNeighbours, MultiHotDense, Zip, looked_up
from tagnet.linear_lstm import LinearLSTM

# Of the linear path of `ltwin_wide`. RMSProp moves every weight about as far in a step, which is
# too little for a path whose weights, one for every tag, must come to some units: these factors
# lengthen its steps. Chosen on the validation split of the embedded data set.
LINEAR_RATE = 40.0
LINEAR_PIXELS = 2.0  # the length of φ_x beside the binary o_x

PATHS = "paths"  # the layer that joins the paths of a graph that has several


@dataclasses.dataclass(frozen=True)
class GraphSettings:
    """The sizes and the regularisation of a graph.

    Attributes:
        feature_dim: D.
        num_labels: L.
        feed: the encoding π of the tags: `id`, `w2v` or `wnet`; None for a visual model.
        tag_dim: n, the width of π: τ for `id`.
        m: how many neighbours a neighbourhood has.
        hidden: h.
        dropout: the probability that a hidden unit is dropped.
        l2: λ of the penalty λ‖W‖² on every kernel but that of a linear path.
        linear_l2: λ of the penalty on the weights of a linear path, which no dropout holds.
    """

    feature_dim: int
    num_labels: int
    m: int
    feed: str | None = None
    tag_dim: int = 0
    hidden: int = 500
    dropout: float = 0.5
    l2: float = 3e-4
    linear_l2: float = 0.0


class Blocks:
    """The inputs and the blocks of one graph; an input exists once it is asked for."""

    def __init__(self, settings: GraphSettings) -> None:
        self.settings = settings
        self.inputs: dict[str, KerasTensor] = {}

    @property
    def phi_x(self) -> KerasTensor:
        """φ_x [B, D]."""
        return self._input("phi_x", (self.settings.feature_dim,))

    @property
    def phi_z(self) -> KerasTensor:
        """φ_z [B, K, D]."""
        return self._input("phi_z", (None, self.settings.feature_dim))

    @property
    def pi_x(self) -> KerasTensor:
        """π_x [B, n]; for `id` the tags' ids, [B, T] padded with −1."""
        return self._tags("pi_x")

    @property
    def pi_z(self) -> KerasTensor:
        """π_z [B, K, n]; for `id` the tags' ids, [B, K, T] padded with −1."""
        return self._tags("pi_z", None)

    def fc(self, weights: str, *inputs: KerasTensor) -> KerasTensor:
        """σ(W [inputs] + b), He-normal; over φ_z or π_z the same W for every neighbour."""
        dense = {
            "activation": "relu",
            "kernel_initializer": "he_normal",
            "kernel_regularizer": self._penalty(),
            "name": weights,
        }
        if inputs[-1].dtype == "int32":  # tag ids
            layer = MultiHotDense(self.settings.hidden, self.settings.tag_dim, **dense)
            return layer(inputs[0] if len(inputs) == 1 else list(inputs))
        return layers.Dense(self.settings.hidden, **dense)(_join(inputs))

    def max(self, neighbours: KerasTensor) -> KerasTensor:
        """Max over i of neighbours [B, K, h]: [B, h]."""
        return MaxOverNeighbours(self.settings.m)(neighbours)

    def rnn(self, weights: str, steps: KerasTensor) -> KerasTensor:
        """RNN(steps [B, K, h]; weights): the last state of a linear LSTM, [B, h]."""
        return self._lstm(self.settings.hidden, weights)(steps)

    def drop(self, vector: KerasTensor) -> KerasTensor:
        """Dropout."""
        return Dropout(self.settings.dropout)(vector)

    def scores(self, weights: str, *vectors: KerasTensor) -> KerasTensor:
        """W [vectors] + b: the logits [B, L], in float32 whatever the policy."""
        layer = layers.Dense(
            self.settings.num_labels,
            kernel_initializer="he_normal",
            kernel_regularizer=self._penalty(),
            dtype="float32",
            name=weights,
        )
        return layer(_join(vectors))

    def linear_scores(self, weights: str) -> KerasTensor:
        """Logits [B, L] of a path without a hidden layer, s (W [p φ_x / ‖φ_x‖; π_x] + b).

        s is `LINEAR_RATE`, p is `LINEAR_PIXELS`; the penalty is on s W.
        """
        settings = self.settings
        phi = layers.UnitNormalization(dtype="float32")(self.phi_x)
        phi = layers.Rescaling(LINEAR_PIXELS, dtype="float32")(phi)
        pi = self.pi_x
        l2 = settings.linear_l2 * LINEAR_RATE**2
        dense = {
            "kernel_initializer": "zeros",
            "kernel_regularizer": keras.regularizers.L2(l2) if l2 else None,
            "dtype": "float32",
            "name": weights,
        }
        if settings.feed == "id":
            layer = MultiHotDense(settings.num_labels, settings.tag_dim, **dense)
            product = layer([phi, pi])
        else:
            product = layers.Dense(settings.num_labels, **dense)(_join((phi, pi)))
        return layers.Rescaling(LINEAR_RATE, dtype="float32")(product)

    def mean(self, *paths: KerasTensor) -> KerasTensor:
        """The mean of several paths' logits [B, L]; in training each has a loss of its own."""
        return layers.Average(dtype="float32", name=PATHS)(list(paths))

    def rnn_scores(self, weights: str, steps: KerasTensor) -> KerasTensor:
        """RNN(steps; weights) with L units: its last output is the logits [B, L], in float32."""
        return self._lstm(self.settings.num_labels, weights, dtype="float32")(steps)

    def _lstm(self, units: int, weights: str, dtype: str | None = None) -> LinearLSTM:
        return LinearLSTM(
            units,
            kernel_regularizer=self._penalty(),
            recurrent_regularizer=self._penalty(),
            dtype=dtype,
            name=weights,
        )

    def _penalty(self) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L2(self.settings.l2) if self.settings.l2 else None

    def _tags(self, name: str, *axes: int | None) -> KerasTensor:
        if self.settings.feed == "id":
            return self._input(name, (*axes, None), "int32")
        return self._input(name, (*axes, self.settings.tag_dim))

    def _input(
        self, name: str, shape: tuple[int | None, ...], dtype: str | None = None
    ) -> KerasTensor:
        if name not in self.inputs:
            self.inputs[name] = keras.Input(shape, name=name, dtype=dtype)
        return self.inputs[name]


def _join(vectors: tuple[KerasTensor, ...]) -> KerasTensor:
    return vectors[0] if len(vectors) == 1 else layers.Concatenate()(vectors)


# --- visual models (section 3.2) ---


def v_only(g: Blocks) -> KerasTensor:
    """F = W_u φ_x + b_u (eq. 8)."""
    return g.scores("W_u", g.phi_x)


def ltn(g: Blocks) -> KerasTensor:
    """F = W_y [v_x; v_z] + b_y (eq. 9).

    v_x = σ(W_x φ_x + b_x) (10), v_z = max_i σ(W_z φ_zi + b_z) (11).
    """
    v_x = g.drop(g.fc("W_x", g.phi_x))
    v_z = g.drop(g.max(g.fc("W_z", g.phi_z)))
    return g.scores("W_y", v_x, v_z)


def rtn(g: Blocks) -> KerasTensor:
    """As `ltn` with v_z = RNN((z_1, …, z_m); W_RNN) (eq. 12), nearest first.

    The equation prints raw z_i; the text replaces only the max-pool, so W_z stays.
    """
    v_x = g.drop(g.fc("W_x", g.phi_x))
    v_z = g.drop(g.rnn("W_RNN", g.fc("W_z", g.phi_z)))
    return g.scores("W_y", v_x, v_z)


# --- joint models (section 3.3) ---


def ltn_vecs(g: Blocks) -> KerasTensor:
    """As `ltn` (eq. 13) with v_x = σ(W_x [φ_x; π_x] + b_x) (eq. 14)."""
    v_x = g.drop(g.fc("W_x", g.phi_x, g.pi_x))
    v_z = g.drop(g.max(g.fc("W_z", g.phi_z)))
    return g.scores("W_y", v_x, v_z)


def ltn_allvecs(g: Blocks) -> KerasTensor:
    """As `ltn_vecs` (eq. 15) with v_z = max_i σ(W_z [φ_zi; π_zi] + b_z) (eq. 16).

    The equation prints no bias; we keep one, as in eq. 11.
    """
    v_x = g.drop(g.fc("W_x", g.phi_x, g.pi_x))
    v_z = g.drop(g.max(g.fc("W_z", g.phi_z, g.pi_z)))
    return g.scores("W_y", v_x, v_z)


def ltwin(g: Blocks) -> KerasTensor:
    """F = W_y [v_x; v_z; u_x; u_z] + b_y (eq. 17), u from tags as v from pixels.

    u_x = σ(W_xu π_x + b_xu), u_z = max_i σ(W_zu π_zi + b_zu).
    """
    v_x = g.drop(g.fc("W_x", g.phi_x))
    v_z = g.drop(g.max(g.fc("W_z", g.phi_z)))
    u_x = g.drop(g.fc("W_xu", g.pi_x))
    u_z = g.drop(g.max(g.fc("W_zu", g.pi_z)))
    return g.scores("W_y", v_x, v_z, u_x, u_z)


def ltwin_rnn(g: Blocks) -> KerasTensor:
    """As `ltwin` with v_z = RNN((FC_z1, …); W_RNN), u_z = RNN((FC_oz1, …); W_oRNN) (text)."""
    return g.scores("W_y", *_ltwin_rnn_vectors(g))


def ltwin_2rnn(g: Blocks) -> KerasTensor:
    """F = RNN((v_x, v_z, u_x, u_z); W_fRNN) (eq. 18), the vectors as in `ltwin_rnn`.

    The equation has no W_y, so the last LSTM has L units and its output is f.
    """
    return g.rnn_scores("W_fRNN", keras.ops.stack(_ltwin_rnn_vectors(g), axis=1))  # [B, 4, h]


def _ltwin_rnn_vectors(g: Blocks) -> tuple[KerasTensor, ...]:
    v_x = g.drop(g.fc("W_x", g.phi_x))
    v_z = g.drop(g.rnn("W_RNN", g.fc("W_z", g.phi_z)))
    u_x = g.drop(g.fc("W_xu", g.pi_x))
    u_z = g.drop(g.rnn("W_oRNN", g.fc("W_zu", g.pi_z)))
    return v_x, v_z, u_x, u_z


def lzip(g: Blocks) -> KerasTensor:
    """F = RNN((v_x, u_x, v_z1, u_z1, …, v_zm, u_zm); W_RNN) (eq. 19), 2(m + 1) steps.

    The equation has no W_y, so the LSTM has L units and its output is f.
    """
    v_x = g.drop(g.fc("W_x", g.phi_x))
    u_x = g.drop(g.fc("W_xu", g.pi_x))
    v_z = g.drop(g.fc("W_z", g.phi_z))  # [B, m, h]
    u_z = g.drop(g.fc("W_zu", g.pi_z))  # [B, m, h]
    image = keras.ops.stack([v_x, u_x], axis=1)  # [B, 2, h]
    steps = layers.Concatenate(axis=1)([image, Zip()([v_z, u_z])])  # [B, 2(m + 1), h]
    return g.rnn_scores("W_RNN", steps)


# --- ours, not the paper's ---


def ltwin_wide(g: Blocks) -> KerasTensor:
    """F = ½ (F_ltwin + s (W_o [p φ_x / ‖φ_x‖; π_x] + b_o)): not of the paper.

    `ltwin` beside logistic regression on the image's own features and tags. The two err on
    different images, if each learns by a loss of its own: by one loss of their sum the hidden
    layers learn no more than what the linear path leaves. Called wide after Cheng et al.
    (2016), Wide & Deep Learning, who train the sum.
    """
    return g.mean(ltwin(g), g.linear_scores("W_o"))


Builder = Callable[[Blocks], KerasTensor]

VISUAL: dict[str, Builder] = {"v_only": v_only, "ltn": ltn, "rtn": rtn}
JOINT: dict[str, Builder] = {
    "ltn_vecs": ltn_vecs,
    "ltn_allvecs": ltn_allvecs,
    "ltwin": ltwin,
    "ltwin_rnn": ltwin_rnn,
    "ltwin_2rnn": ltwin_2rnn,
    "lzip": lzip,
    "ltwin_wide": ltwin_wide,
}
OURS = ("ltwin_wide",)  # the others are the paper's
ARCHITECTURES: dict[str, Builder] = VISUAL | JOINT


def build(arch: str, settings: GraphSettings) -> keras.Model:
    """Builds a graph.

    Args:
        arch: a key of `ARCHITECTURES`.
        settings: sizes and regularisation.

    Returns:
        A functional model from the inputs that the graph reads, by name among
        `phi_x`, `phi_z`, `pi_x`, `pi_z`, to the logits [B, L]. The number of
        neighbours given to it is free: m for f of the equations; a max-pool graph
        answers more than m with the average over all m-subsets (eq. 2).
    """
    blocks = Blocks(settings)
    scores = ARCHITECTURES[arch](blocks)
    return keras.Model(blocks.inputs, scores, name=arch)


def reads_order(model: keras.Model) -> bool:
    """Whether the graph reads its neighbours one by one (LSTM) rather than as a set."""
    return any(isinstance(layer, LinearLSTM) for layer in model.layers)


def by_path(core: keras.Model) -> keras.Model:
    """The graph as it is trained.

    Args:
        core: a graph of `build`.

    Returns:
        Of a graph with P paths a model of the same layers to the logits of each, [B, L, P];
        any other graph as it is.
    """
    if PATHS not in {layer.name for layer in core.layers}:
        return core
    paths = keras.ops.stack(core.get_layer(PATHS).input, axis=2)
    return keras.Model(core.input, paths, name=core.name)


def by_rows(core: keras.Model, lookups: Lookups) -> keras.Model:
    """The same graph fed with row numbers, which it looks up on the device.

    Args:
        core: a graph of `build` or `by_path`.
        lookups: `phi` and, for a joint model, `pi`; see `layers.lookups`.

    Returns:
        A model from `row` [B] and, unless the graph ignores neighbours, `neighbours`
        [B, K] to what the graph gives.
    """
    names = [tensor.name for tensor in core.inputs]
    rows = {ROWS["x"]: keras.Input((), dtype="int32", name=ROWS["x"])}
    if "phi_z" in names:
        rows[ROWS["z"]] = keras.Input((None,), dtype="int32", name=ROWS["z"])
    return keras.Model(rows, core(looked_up(names, rows, lookups)))
