"""The settings of a preparation; the flags of `data_tools.prepare` are made from them."""

from dataclasses import dataclass
from pathlib import Path

from data_tools.neighbourhoods import POOLS
from data_tools.splits import parse_sizes
from data_tools.wordnet import DIM as WORDNET_DIM
from tagnet.console import option
from tagnet.features import BACKBONES
from tagnet.files import InputError

ENCODINGS = ("id", "w2v", "wnet")
VECTOR_FLAGS = {"w2v": "--word_vectors", "wnet": "--wordnet or --wordnet_vectors"}
TRAIN = Path("train")  # in place of a file
SIZES = ".6,.2,.2"
DEMO_SIZES = "2600,600,1000"


@dataclass(frozen=True)
class Settings:
    """What a prepared directory is made from, apart from where it is.

    Raises:
        InputError: a value is unknown, out of range, or does not fit the others.
    """

    source: str = option("table", "demo (the embedded data set) or table")
    raw: Path | None = option(None, "table: .csv, .jsonl or .parquet file, one row an image")
    features: Path | None = option(None, "table: .npy or one-array .npz in row order")
    word_vectors: Path | None = option(
        None, "for w2v: word2vec, fastText or GloVe file, or train: from the tags"
    )
    wordnet_vectors: Path | None = option(None, "for wnet: likewise a file")
    wordnet: Path | None = option(None, "for wnet: folder of the WordNet 3.0 database")
    wordnet_dim: int = option(WORDNET_DIM, "of the vectors that --wordnet makes")
    separator: str = option("|", "between the entries of a list column")
    backbone: str = option("efficientnet_lite0", "network for photographs without --features")
    tau: int = option(5000, "size of the vocabulary, the most frequent tags")
    min_images: int = option(1, "a tag that fewer images carry stays out")
    splits: int = option(1, "number of random splits")
    sizes: str | None = option(
        None, f"train,validation,test: counts or fractions [{SIZES}; demo {DEMO_SIZES}]"
    )
    M: int = option(24, "neighbours stored for each image")
    pools: tuple[str, ...] = option(tuple(POOLS), "where neighbours come from")
    encodings: tuple[str, ...] | None = option(
        None, "id, w2v, wnet: neighbours by what [id and those with vectors]"
    )
    seed: int = option(0, "of the splits")
    name: str | None = option(None, "of the data set [the file's or the source's]")

    def __post_init__(self) -> None:
        for flag, values, known in (
            ("backbone", [self.backbone], tuple(BACKBONES)),
            ("pools", self.pools, tuple(POOLS)),
            ("encodings", self.encodings_or_default, ENCODINGS),
        ):
            for value in values:
                if value not in known:
                    raise InputError(f"--{flag} must be of {', '.join(known)}; received {value!r}")
            if not values or len(set(values)) < len(values):
                raise InputError(f"--{flag} must name each once; received {','.join(values)!r}")
        for flag, number, least in (
            ("tau", self.tau, 1),
            ("min_images", self.min_images, 1),
            ("splits", self.splits, 1),
            ("M", self.M, 1),
            ("wordnet_dim", self.wordnet_dim, 1),
            ("seed", self.seed, 0),
        ):
            if number < least:
                raise InputError(f"--{flag} must be at least {least}; received {number}")
        if not self.separator:
            raise InputError("--separator must not be empty")
        parse_sizes(self.sizes_or_default)
        self._check_files()

    def _check_files(self) -> None:
        if self.source == "table" and self.raw is None:
            raise InputError("--raw is missing: --source=table needs the table's file")
        for flag in ("raw", "features"):
            if self.source == "demo" and getattr(self, flag) is not None:
                raise InputError(
                    f"--{flag} must not be given with --source=demo, which has its own"
                )
        if self.wordnet is not None and self.wordnet_vectors is not None:
            raise InputError("--wordnet and --wordnet_vectors must not be given both")
        for encoding, flags in VECTOR_FLAGS.items():
            if encoding in self.encodings_or_default and not self._can_have(encoding):
                raise InputError(f"--encodings={encoding} needs {flags}; received none")

    def brings(self, encoding: str) -> bool:
        """Whether the source itself has word vectors for `encoding`."""
        return self.source == "demo" and encoding == "w2v"

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
        """The table's file."""
        assert self.raw is not None  # checked above
        return self.raw

    @property
    def sizes_or_default(self) -> str:
        """The sizes of the parts as text."""
        return self.sizes or (DEMO_SIZES if self.source == "demo" else SIZES)

    @property
    def encodings_or_default(self) -> tuple[str, ...]:
        """The encodings: those asked for, else all that can be had."""
        if self.encodings is not None:
            return self.encodings
        return ("id", *filter(self._can_have, VECTOR_FLAGS))

    @property
    def name_or_default(self) -> str:
        """What the data set is called."""
        return self.name or (self.raw.stem if self.raw else self.source)
