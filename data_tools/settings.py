"""The settings of a preparation; the flags of `data_tools.prepare` are made from them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from data_tools import mirflickr, nus_wide, twin
from data_tools.neighbourhoods import POOLS
from data_tools.splits import parse_sizes
from data_tools.wordnet import DIM as WORDNET_DIM
from tagnet.approximate import INDEXES
from tagnet.console import option, require_at_least
from tagnet.features import BACKBONES, Backbone
from tagnet.files import InputError

ENCODINGS = ("id", "w2v", "wnet")
VECTOR_FLAGS = {"w2v": "--word_vectors", "wnet": "--wordnet or --wordnet_vectors"}
TRAIN = Path("train")  # in place of a file
SIZES = ".6,.2,.2"
DEMO_SIZES = "2600,600,1000"
TAG_SETS = {"nus_wide": tuple(nus_wide.TAG_SETS), "mirflickr": mirflickr.TAG_SETS}
LABEL_SETS = {"mirflickr": mirflickr.LABEL_SETS}
OWN_DATA = ("demo", "twin")  # sources that read no file of the user's


@dataclass(frozen=True)
class Settings:
    """What a prepared directory is made from, apart from where it is.

    Raises:
        InputError: a value is unknown, out of range, or does not fit the others.
    """

    source: str = option(
        "table", "demo (embedded), table, photo_folder, nus_wide, mirflickr or twin"
    )
    raw: Path | None = option(None, "the table (.csv, .jsonl, .parquet) or folder to read")
    features: Path | None = option(None, ".npy, or .npz or HDF5 with one array, in row order")
    tags_only: bool = option(False, "without features: for the neighbours, not for training")
    ids: Path | None = option(None, "nus_wide: the images to use, one id a line")
    tag_set: str | None = option(None, "nus_wide: all, final or 1k; mirflickr: all or raw [all]")
    label_set: str | None = option(
        None, "mirflickr: potential (24), relevant (14, _r1) or both [potential]"
    )
    label_prefix: str | None = option(
        None, "photo_folder: keywords that begin so are labels [names of folders are]"
    )
    label_table: Path | None = option(
        None, "photo_folder: a table of labels; its image_id is the path below --raw"
    )
    word_vectors: Path | None = option(
        None, "for w2v: word2vec, fastText or GloVe file, or train: from the tags"
    )
    wordnet_vectors: Path | None = option(None, "for wnet: likewise a file")
    wordnet: Path | None = option(None, "for wnet: folder of the WordNet 3.0 database")
    wordnet_dim: int = option(WORDNET_DIM, "of the vectors that --wordnet makes")
    separator: str = option("|", "between the entries of a list column")
    backbone: str = option(
        "efficientnet_lite0", "or caffenet, alexnet, or a model of Keras, as ResNet50"
    )
    weights: Path | None = option(None, "of the backbone [those that it gets by itself]")
    images: int = option(twin.IMAGES, "twin: how many images to make up")
    tau: int = option(5000, "size of the vocabulary, the most frequent tags")
    min_images: int = option(1, "a tag that fewer images carry stays out")
    splits: int | None = option(None, f"number of random splits [1; nus_wide {nus_wide.SPLITS}]")
    sizes: str | None = option(
        None, f"train,validation,test: counts or fractions [{SIZES}, or the source's]"
    )
    M: int = option(24, "neighbours stored for each image")
    neighbour_index: str = option(
        "exact", "exact, or hnsw or ivf for millions of images; id is always exact"
    )
    pools: tuple[str, ...] = option(tuple(POOLS), "where neighbours come from")
    encodings: tuple[str, ...] | None = option(
        None, "id, w2v, wnet: neighbours by what [id and those with vectors]"
    )
    seed: int = option(0, "of the splits")
    name: str | None = option(None, "of the data set [the file's or the source's]")

    def __post_init__(self) -> None:
        for flag, values, known in (
            ("backbone", [self.backbone], tuple(BACKBONES)),
            ("neighbour_index", [self.neighbour_index], tuple(INDEXES)),
            ("pools", self.pools, tuple(POOLS)),
            ("encodings", self.encodings_or_default, ENCODINGS),
        ):
            for value in values:
                if value not in known:
                    raise InputError(f"--{flag} must be of {', '.join(known)}; received {value!r}")
            if not values or len(set(values)) < len(values):
                raise InputError(f"--{flag} must name each once; received {','.join(values)!r}")
        require_at_least(self, tau=1, images=1, min_images=1, splits=1, M=1, wordnet_dim=1, seed=0)
        if not self.separator:
            raise InputError("--separator must not be empty")
        parse_sizes(self.sizes_or_default)
        self._check_source()
        self._check_files()

    def _check_source(self) -> None:
        for source, what in (
            ("table", "the table's file"),
            ("photo_folder", "the folder"),
            ("nus_wide", "the folder of its files"),
            ("mirflickr", "the folder of its files"),
        ):
            if self.source == source and self.raw is None:
                raise InputError(f"--raw is missing: --source={source} needs {what}")
        for flag, known in (("tag_set", TAG_SETS), ("label_set", LABEL_SETS)):
            value, values = getattr(self, flag), known.get(self.source, ())
            if value is not None and value not in values:
                rule = f"must be of {', '.join(values)}" if values else "must not be given"
                raise InputError(f"--{flag} {rule} with --source={self.source}; received {value!r}")
        if self.ids is not None and self.source != "nus_wide":
            raise InputError("--ids is for --source=nus_wide; received --source=" + self.source)

    def _check_files(self) -> None:
        if self.tags_only and (self.features is not None or self.source in OWN_DATA):
            raise InputError(
                "--tags_only must not be given where there are features; received both"
            )
        if self.source == "photo_folder" and self.features is not None:
            raise InputError("--features must not be given with --source=photo_folder")
        for flag in ("label_prefix", "label_table"):
            if self.source != "photo_folder" and getattr(self, flag) is not None:
                raise InputError(f"--{flag} is for --source=photo_folder; received {self.source}")
        if self.label_prefix is not None and self.label_table is not None:
            raise InputError("--label_prefix and --label_table must not be given together")
        for flag in ("raw", "features"):
            if self.source in OWN_DATA and getattr(self, flag) is not None:
                raise InputError(
                    f"--{flag} must not be given with --source={self.source}, which has its own"
                )
        if self.wordnet is not None and self.wordnet_vectors is not None:
            raise InputError("--wordnet and --wordnet_vectors must not be given both")
        for encoding, flags in VECTOR_FLAGS.items():
            if encoding in self.encodings_or_default and not self._can_have(encoding):
                raise InputError(f"--encodings={encoding} needs {flags}; received none")

    def brings(self, encoding: str) -> bool:
        """Whether the source itself has word vectors for `encoding`."""
        return self.source in OWN_DATA and encoding == "w2v"

    @property
    def splits_or_default(self) -> int:
        """The number of splits."""
        if self.splits is not None:
            return self.splits
        return nus_wide.SPLITS if self.source == "nus_wide" else 1

    @property
    def network(self) -> Backbone:
        """The backbone, with its file of weights."""
        return dataclasses.replace(BACKBONES[self.backbone], weights=self.weights)

    def vector_file(self, encoding: str) -> Path | None:
        """The user's file of word vectors for `encoding`."""
        return {"w2v": self.word_vectors, "wnet": self.wordnet_vectors}[encoding]

    @property
    def trains_vectors(self) -> bool:
        """Whether the vectors of w2v are trained on the tags."""
        return self.word_vectors == TRAIN

    def _can_have(self, encoding: str) -> bool:
        made = encoding == "wnet" and self.wordnet is not None
        return made or self.brings(encoding) or self.vector_file(encoding) is not None

    @property
    def raw_file(self) -> Path:
        """The table's file, or the folder to read."""
        assert self.raw is not None  # checked above
        return self.raw

    @property
    def sizes_or_default(self) -> str:
        """The sizes of the parts as text."""
        defaults = {"demo": DEMO_SIZES, "nus_wide": nus_wide.SIZES, "twin": twin.SIZES}
        return self.sizes or defaults.get(self.source, SIZES)

    @property
    def encodings_or_default(self) -> tuple[str, ...]:
        """The encodings: those asked for, else all that can be had."""
        if self.encodings is not None:
            return self.encodings
        return ("id", *filter(self._can_have, VECTOR_FLAGS))

    @property
    def name_or_default(self) -> str:
        """What the data set is called."""
        own = {"twin": twin.NAME}.get(self.source, self.source)
        return self.name or (self.raw.stem if self.raw and self.source == "table" else own)
