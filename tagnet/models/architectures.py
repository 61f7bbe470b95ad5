"""The nine architectures of the paper, in its order, each with its equation; and one extension.

Symbols are the paper's. φ_x [D] and φ_z [K, D] are CNN features of an image x
and of its neighbours z_1 … z_K, nearest first; π_x and π_z are their encoded
tags; σ is ReLU; [a; b] joins vectors. The layer over the neighbours is one layer
whose weights all of them share. Layers are named after their weights, so that
`model.get_layer("W_x")` holds W_x and b_x.

Readings of what the paper leaves open: dropout follows every hidden ReLU vector,
after the pooling where there is one; an LSTM "with linear activation" has the
identity in place of tanh for candidate and output, its gates stay sigmoid; the
regularisation covers the kernels, not the biases.

To add an architecture, write its function from the blocks of `blocks.py` and enter it in the dict
at the end. Flags, training, scoring, serving and explanations follow from that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tagnet.errors import InputError
from tagnet.settings import ENCODINGS, GraphSettings

if TYPE_CHECKING:  # importing this file must not import Keras: flags list the names
    import keras
    from keras import KerasTensor

    from tagnet.models.blocks import Blocks


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
    return _ltwin(g, g.phi_x, g.phi_z)


def _ltwin(g: Blocks, phi_x: KerasTensor, phi_z: KerasTensor) -> KerasTensor:
    v_x = g.drop(g.fc("W_x", phi_x))
    v_z = g.drop(g.max(g.fc("W_z", phi_z)))
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
    return g.rnn_scores("W_fRNN", g.stack(*_ltwin_rnn_vectors(g)))  # [B, 4, h]


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
    return g.rnn_scores("W_RNN", g.zip(g.stack(v_x, u_x), v_z, u_z))  # [B, 2(m + 1), h]


# --- an extension, not in the paper ---


def ltwin_kernel(g: Blocks) -> KerasTensor:
    """F = ⅓ F_ltwin + ⅔ (W_k κ(φ_x, π_x) + b_k): not of the paper.

    `ltwin` on the roots of φ_x and φ_z (see `Blocks.unit_root`), beside kernel logistic regression,
    which compares the image with labelled training images, by pixels and by tags (see
    `Blocks.kernel_scores`). The two err on different images; the weights were chosen on the
    validation splits of the demo data set and of MIRFLICKR.
    """
    twin = _ltwin(g, g.unit_root(g.phi_x), g.unit_root(g.phi_z))
    kernel = g.kernel_scores("W_k")
    return g.mean(twin, kernel, kernel)


Builder: TypeAlias = "Callable[[Blocks], KerasTensor]"

VISUAL: dict[str, Builder] = {"v_only": v_only, "ltn": ltn, "rtn": rtn}
JOINT: dict[str, Builder] = {
    "ltn_vecs": ltn_vecs,
    "ltn_allvecs": ltn_allvecs,
    "ltwin": ltwin,
    "ltwin_rnn": ltwin_rnn,
    "ltwin_2rnn": ltwin_2rnn,
    "lzip": lzip,
    "ltwin_kernel": ltwin_kernel,
}
RECURRENT = ("rtn", "ltwin_rnn", "ltwin_2rnn", "lzip")  # those with an LSTM
OURS = ("ltwin_kernel",)  # all others are in the paper
ARCHITECTURES: dict[str, Builder] = VISUAL | JOINT


def build(arch: str, settings: GraphSettings) -> keras.Model:
    """Builds the model of an architecture.

    Args:
        arch: a key of `ARCHITECTURES`.
        settings: sizes and regularisation.

    Returns:
        A functional model from the inputs that the graph reads, by name among
        `phi_x`, `phi_z`, `pi_x`, `pi_z`, to the logits [B, L]. The number of
        neighbours given to it is free: m for f of the equations; a max-pool graph
        answers more than m with the average over all m-subsets (eq. 2). Its attribute
        `graph_settings` holds the settings.

    Raises:
        InputError: there is no such architecture, or it needs other settings.
    """
    _check(arch, settings)
    import keras

    from tagnet.models.blocks import Blocks

    blocks = Blocks(settings)
    scores = ARCHITECTURES[arch](blocks)
    model = keras.Model(blocks.inputs, scores, name=arch)
    model.graph_settings = settings
    return model


def _check(arch: str, settings: GraphSettings) -> None:
    if arch not in ARCHITECTURES:
        raise InputError(
            f"the architecture must be one of {', '.join(ARCHITECTURES)}; received {arch!r}"
        )
    sizes = ["feature_dim", "num_labels", "m", "hidden"]
    if arch in JOINT:
        if settings.feed not in ENCODINGS:
            raise InputError(
                f"{arch} reads tags: feed must be one of {', '.join(ENCODINGS)}; "
                f"received {settings.feed!r}"
            )
        sizes.append("tag_dim")
    if arch in OURS:
        sizes.append("references")
    for name in sizes:
        if getattr(settings, name) < 1:
            raise InputError(
                f"{arch}: {name} must be at least 1; received {getattr(settings, name)}"
            )
