"""The settings of a model, of its training and of its scoring, and the names that flags take.

Importing this file imports nothing heavy, so that a command can list its flags at once.
"""

import dataclasses


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
