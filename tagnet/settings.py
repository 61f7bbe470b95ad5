"""Settings of models, training and scoring, and the values that flags accept.

Importing this file imports nothing heavy, so that a command can list its flags at once.
"""

import dataclasses
from typing import Any

from tagnet.errors import InputError

PARTS = ("train", "validation", "test")
ENCODINGS = ("id", "w2v", "wnet")
POOLS = {
    "open": "all images; the protocol of the paper",
    "closed": "the images of the same part",
    "train": "the training images; what a deployed annotator has",
}
INDEXES = {
    "exact": "all pairs",
    "hnsw": "a graph of near vectors (faiss)",
    "ivf": "cells around centroids, the nearest of which are searched (faiss)",
}
PLACEMENTS = ("device", "host", "mmap")  # where the tables of features and tags are
MAX_REFERENCES = 4096  # training images that a kernel path compares with, at most
SHIPPED_MODEL = "ltwin_kernel_coco"  # the preset that comes with tagnet; see `serving/preset.py`
MAX_TAGS = 1000  # of one image that is annotated
CLASS_WEIGHTS = ("balanced",)
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
PRECISIONS = (*POLICIES, "auto")  # bfloat16 where the device has it and a step is shorter by it
JIT = ("auto", "on", "off")  # whether XLA compiles whole training steps; auto: on a GPU
MAX_COMPILED_TAGS = 256  # XLA pads all lists of tags to the longest, which may have this many


@dataclasses.dataclass(frozen=True)
class GraphSettings:
    """Sizes and regularisation of a model.

    Attributes:
        feature_dim: D.
        num_labels: L.
        feed: the encoding π of the tags: `id`, `w2v` or `wnet`; None for a visual model.
        tag_dim: n, the width of π: τ for `id`.
        m: how many neighbours a neighbourhood has.
        hidden: h.
        dropout: the probability that a hidden unit is dropped.
        l2: λ of the penalty λ‖W‖² on every kernel.
        references: R, how many training images a kernel path compares with.
    """

    feature_dim: int
    num_labels: int
    m: int
    feed: str | None = None
    tag_dim: int = 0
    hidden: int = 500
    dropout: float = 0.5
    l2: float = 3e-4
    references: int = 0


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        learning_rate: RMSProp's learning rate.
        rho: decay of RMSProp's mean square.
        batch_size: images in a batch.
        min_epochs: early stopping never ends a run before this many epochs.
        max_epochs: the run ends after this many.
        patience: it stops after this many epochs without a better validation mAP_lab.
        loss_over_labels: the sigmoid cross-entropy of an image is the `sum` over its
            labels (eq. 3 takes the loss of an image whole) or their `mean`.
        clip_norm: the gradients' joint norm is clipped to this; None leaves it.
        class_weight: `balanced` weights each label's images with it and without it so that both
            count alike, as in scikit-learn; None weights all alike.
    """

    learning_rate: float = 1e-4
    rho: float = 0.9
    batch_size: int = 64
    min_epochs: int = 3
    max_epochs: int = 10
    patience: int = 2
    loss_over_labels: str = "sum"
    clip_norm: float | None = None
    class_weight: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.min_epochs <= self.max_epochs:
            raise InputError(
                "epochs must satisfy 1 <= min_epochs <= max_epochs; "
                f"received min_epochs {self.min_epochs}, max_epochs {self.max_epochs}"
            )


@dataclasses.dataclass(frozen=True)
class ScoringSettings:
    """How scores are averaged over neighbourhoods.

    Attributes:
        m: the size of a neighbourhood.
        exact: max-pool graphs: the mean over all C(M, m) neighbourhoods. LSTM
            graphs, whose mean has no closed form, are sampled either way.
        samples: how many distinct neighbourhoods are drawn where it is sampled.
        average: `logits` averages f as eq. 2 does; `probabilities` averages σ(f).
    """

    m: int
    exact: bool = True
    samples: int = 10
    average: str = "logits"


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """What describes a deployed model, besides its arrays.

    Attributes:
        arch: a key of `ARCHITECTURES`.
        graph: the sizes of the graph.
        neighbours: encoding whose distance picks the neighbours: `id`, `w2v` or `wnet`.
            Where it is `id` and the corpus has other words, that of the feed does.
        max_rank: M.
        samples: how many neighbourhoods an LSTM graph averages over.
        labels: the L labels by id.
        backbone: the network that Φ is of; None where it is not known, and then only
            feature vectors can be annotated.
        backbone_settings: what else Φ depends on, see `Backbone.record`.
    """

    arch: str
    graph: GraphSettings
    neighbours: str
    max_rank: int
    samples: int
    labels: tuple[str, ...]
    backbone: str | None = None
    backbone_settings: dict[str, Any] | None = None

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings whose β the neighbour search or the model reads."""
        return tuple(sorted({self.neighbours, self.graph.feed or "id"} - {"id"}))


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """Which neighbours a run draws: (m, M) of the paper.

    Attributes:
        m: how many neighbours the network sees at once.
        max_rank: M, the number of nearest images that they are drawn from.
    """

    m: int
    max_rank: int

    def __post_init__(self) -> None:
        if not 1 <= self.m <= self.max_rank:
            raise InputError(f"m must be 1 to M; received m {self.m}, M {self.max_rank}")


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """What determines the batches of a run, besides the data set.

    Attributes:
        split: index of the random split.
        encoding: whose distance picked the neighbours.
        pool: where they come from.
        neighbourhood: (m, M).
        batch_size: images in a batch; the last of an epoch may be smaller.
        seed: of the order and the draws.
    """

    split: int
    encoding: str
    pool: str
    neighbourhood: Neighbourhood
    batch_size: int
    seed: int
