"""The settings of a preparation; the flags of `data_tools.prepare` are made from them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from data_tools.neighbourhoods import POOLS
from data_tools.splits import parse_sizes
from tagnet.console import option
from tagnet.features import BACKBONES, Backbone
from tagnet.files import InputError

ENCODINGS = ("id", "w2v", "wnet")
SIZES = ".6,.2,.2"
DEMO_SIZES = "2600,600,1000"


@dataclass(frozen=True)
class Settings:
    """What a prepared directory is made from, apart from where it is.

    Raises:
        InputError: a value is unknown, out of range, or does not fit the others.
    """

    source: str = option("table", "demo (the embedded data set), table or photo_folder")
    raw: Path | None = option(None, "the table (.csv, .jsonl, .parquet) or folder to read")
    features: Path | None = option(None, "table: .npy or one-array .npz in row order")
    word_vectors: Path | None = option(None, "file in word2vec format, for w2v")
    wordnet_vectors: Path | None = option(None, "file in word2vec format, for wnet")
    separator: str = option("|", "between the entries of a list column")
    label_prefix: str | None = option(
        None, "photo_folder: keywords that begin so are labels [names of folders are]"
    )
    label_table: Path | None = option(
        None, "photo_folder: a table of labels; its image_id is the path below --raw"
    )
    backbone: str = option(
        "efficientnet_lite0", "or caffenet, alexnet, or a model of Keras, as ResNet50"
    )
    weights: Path | None = option(None, "of the backbone [those that it gets by itself]")
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
        if self.source == "photo_folder":
            if self.raw is None:
                raise InputError("--raw is missing: --source=photo_folder needs the folder")
            if self.features is not None:
                raise InputError("--features must not be given with --source=photo_folder")
        for flag in ("label_prefix", "label_table"):
            if self.source != "photo_folder" and getattr(self, flag) is not None:
                raise InputError(f"--{flag} is for --source=photo_folder; received {self.source}")
        if self.label_prefix is not None and self.label_table is not None:
            raise InputError("--label_prefix and --label_table must not be given together")
        for flag in ("raw", "features"):
            if self.source == "demo" and getattr(self, flag) is not None:
                raise InputError(
                    f"--{flag} must not be given with --source=demo, which has its own"
                )
        for encoding, flag, file in (
            ("w2v", "word_vectors", self.word_vectors),
            ("wnet", "wordnet_vectors", self.wordnet_vectors),
        ):
            if encoding in self.encodings_or_default and not self.brings(encoding) and file is None:
                raise InputError(f"--encodings={encoding} needs --{flag}; received none")

    def brings(self, encoding: str) -> bool:
        """Whether the source itself has word vectors for `encoding`."""
        return self.source == "demo" and encoding == "w2v"

    @property
    def network(self) -> Backbone:
        """The backbone, with its file of weights."""
        return dataclasses.replace(BACKBONES[self.backbone], weights=self.weights)

    @property
    def raw_file(self) -> Path:
        """The table's file, or the folder."""
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
        w2v = self.word_vectors is not None or self.brings("w2v")
        return ("id", *(["w2v"] if w2v else []), *(["wnet"] if self.wordnet_vectors else []))

    @property
    def name_or_default(self) -> str:
        """What the data set is called."""
        return self.name or (self.raw.stem if self.raw else self.source)
