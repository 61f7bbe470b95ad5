"""The settings of a preparation, and the flags of `data_tools.prepare` derived from them."""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.sources.base import Source
from data_tools.sources.parts import OFFICIAL, list_files
from data_tools.sources.published_files import Original
from data_tools.sources.registry import SOURCES, NusWide
from data_tools.sources.table import FLAGS
from data_tools.steps.embedding import Origin, from_file, from_source, from_tags, from_wordnet
from data_tools.steps.splits import parse_sizes
from data_tools.vectors.wordnet import DIM as WORDNET_DIM
from tagnet.errors import InputError
from tagnet.settings import ENCODINGS, INDEXES, POOLS
from tagnet.system.console import option, require_at_least, require_one_of

VECTOR_FLAGS = {"w2v": "--word_vectors", "wnet": "--wordnet or --wordnet_vectors"}
TRAIN = Path("train")  # in place of a file
# Named in a data set's settings only where they were given, as few are.
IF_GIVEN = {"split_lists", "label_separator", "label_columns", "photos", *FLAGS.values()}


@dataclass(frozen=True)
class Settings:
    """Everything a prepared directory is made from, except its path.

    Raises:
        InputError: a value is unknown, out of range, or does not fit the others.
    """

    source: Source
    word_vectors: Path | None = option(
        None, "w2v vectors: word2vec, fastText or GloVe file, or train (on the tags) [none]"
    )
    wordnet_vectors: Path | None = option(
        None, "wnet vectors: a file like those of --word_vectors [none]"
    )
    wordnet: Path | None = option(
        None, "folder of the WordNet 3.0 database, to make vectors for wnet [none]"
    )
    wordnet_dim: int | None = option(
        None, f"dimension of the vectors that --wordnet makes [{WORDNET_DIM}]"
    )
    tau: int = option(5000, "size of the vocabulary (the most frequent tags)")
    min_images: int = option(1, "minimum number of images per tag; rarer tags are dropped")
    splits: int | None = option(
        None, f"number of random splits [{Source.splits}; nus_wide {NusWide.splits}]"
    )
    sizes: str | None = option(
        None,
        f"sizes of train,validation,test: counts or fractions [{Source.sizes} or the source's]",
    )
    M: int = option(24, "neighbours to store for each image")
    neighbour_index: str = option(
        "exact", "exact, or hnsw or ivf for millions of images (id: always exact)"
    )
    pools: tuple[str, ...] = option(tuple(POOLS), f"neighbour pools: {', '.join(POOLS)}")
    encodings: tuple[str, ...] | None = option(
        None, "find neighbours by: id, w2v, wnet [id, and those with vectors]"
    )
    split_lists: tuple[str, ...] | None = option(
        None,
        "lists of images: train,test or train,validation,test; or official [drawn]",
    )
    seed: int = option(0, "seed of the random splits")
    name: str | None = option(None, "name of the data set [the file's or the source's]")

    def __post_init__(self) -> None:
        require_one_of("neighbour_index", self.neighbour_index, INDEXES)
        for flag, values, known in (
            ("pools", self.pools, tuple(POOLS)),
            ("encodings", self.encodings_or_default, ENCODINGS),
        ):
            for value in values:
                require_one_of(flag, value, known)
            if not values or len(set(values)) < len(values):
                raise InputError(
                    f"--{flag} must be one or more, each once; received {','.join(values)!r}"
                )
        require_at_least(self, tau=1, min_images=1, splits=1, M=1, wordnet_dim=1, seed=0)
        parse_sizes(self.sizes_or_default)
        self._check_parts()
        if self.wordnet is not None and self.wordnet_vectors is not None:
            raise InputError("--wordnet and --wordnet_vectors must not be given together")
        if self.wordnet_dim is not None and self.wordnet is None:
            raise InputError(f"--wordnet_dim={self.wordnet_dim} needs --wordnet; received none")
        for encoding, flags in VECTOR_FLAGS.items():
            if encoding in self.encodings_or_default and self.origin(encoding) is None:
                raise InputError(f"--encodings={encoding} needs {flags}; received none")

    def _check_parts(self) -> None:
        """Raises `InputError` if parts are given in two ways."""
        given = {
            "split_column": getattr(self.source, "split_column", None),
            "split_lists": self.split_lists,
            "sizes": self.sizes,
            "splits": self.splits,
        }
        flags = [flag for flag, value in given.items() if value is not None]
        if len(flags) > 1 and flags[0].startswith("split_"):
            raise InputError(f"--{flags[0]} and --{flags[1]} must not be given together")
        if self.split_lists is None and not self.draws:
            self.source.require_parts()
        if self.split_lists is not None and self.split_lists != (OFFICIAL,):
            list_files(self.split_lists)

    def given_lists(self) -> dict[str, Original]:
        """The lists of the parts by the part they play; empty where parts are drawn.

        Raises:
            InputError: the source has no official ones, or they cannot be found.
        """
        if self.split_lists is None:
            return {}
        if self.split_lists == (OFFICIAL,):
            return self.source.official_lists()
        return list_files(self.split_lists)

    @property
    def draws(self) -> bool:
        """Whether parts are drawn even where the source has some of its own."""
        return self.split_lists is None and (self.sizes is not None or self.splits is not None)

    @classmethod
    def of(cls, source: str = "table", **given: Any) -> "Settings":
        """Builds the settings from flags.

        Args:
            source: the name of one of `SOURCES`.
            given: settings of that source and fields of this class; None where not given.

        Raises:
            InputError: the source is unknown or does not read a flag; or as the class.
        """
        require_one_of("source", source, SOURCES)
        own, common = {}, {}
        for flag, value in given.items():
            readers = [name for name, kind in SOURCES.items() if flag in _fields(kind)]
            if value is None:
                continue
            if not readers:
                common[flag] = value
            elif source in readers:
                own[flag] = value
            else:
                raise InputError(
                    f"--{flag} is for --source={', '.join(readers)}; received --source={source}"
                )
        return cls(SOURCES[source](**own), **common)

    def origin(self, encoding: str) -> Origin | None:
        """Where the word vectors of `encoding` come from; None where there are none."""
        if encoding == "id":
            return None
        if encoding == "w2v" and self.word_vectors == TRAIN:
            return from_tags(self.seed)
        if encoding == "wnet" and self.wordnet is not None:
            return from_wordnet(self.wordnet, self.wordnet_dim or WORDNET_DIM)
        path = {"w2v": self.word_vectors, "wnet": self.wordnet_vectors}[encoding]
        if path is not None:
            return from_file(path, encoding)
        return from_source(self.source, encoding) if encoding in self.source.encodings else None

    @property
    def splits_or_default(self) -> int:
        """The number of splits."""
        return self.source.splits if self.splits is None else self.splits

    @property
    def sizes_or_default(self) -> str:
        """The sizes of the parts as text."""
        return self.sizes or self.source.sizes

    @property
    def encodings_or_default(self) -> tuple[str, ...]:
        """The requested encodings; by default all that are possible."""
        if self.encodings is not None:
            return self.encodings
        return ("id", *(name for name in VECTOR_FLAGS if self.origin(name) is not None))

    @property
    def name_or_default(self) -> str:
        """What the data set is called."""
        return self.name or self.source.title

    def as_dict(self) -> dict[str, Any]:
        """All settings by name as JSON values, defaults filled in."""
        values = {"source": self.source.name} | _values(self.source) | _values(self)
        values |= {
            "splits": self.splits_or_default,
            "sizes": self.sizes_or_default,
            "encodings": list(self.encodings_or_default),
            "pools": list(self.pools),
            "name": self.name_or_default,
        }
        return {
            name: _as_json(value)
            for name, value in values.items()
            if value is not None or name not in IF_GIVEN
        }


def flags() -> list[tuple[str, Any, Any]]:
    """The arguments of `Settings.of` as fields of a command's options; None if not given."""
    names = dict.fromkeys(name for source in SOURCES.values() for name in _fields(source))
    own = [(name, *_flag(name)) for name in names]
    common = [(name, field.type, field) for name, field in _fields(Settings).items()]
    return [
        ("source", str, option("table", f"kind of raw data: {', '.join(SOURCES)}")),
        *own,
        *common,
    ]


def _flag(name: str) -> tuple[Any, Any]:
    """The type of a source's setting, and its option; the help names the sources."""
    fields = {
        source.name: _fields(source)[name] for source in SOURCES.values() if name in _fields(source)
    }
    readers: dict[str, list[str]] = defaultdict(list)
    for source, field in fields.items():
        default = f" [{field.default}]" if field.default else ""
        readers[field.metadata["help"] + default].append(source)
    if len(fields) > len(readers) == 1:
        text = next(iter(readers))
    else:
        text = "; ".join(f"{', '.join(sources)}: {text}" for text, sources in readers.items())
    return field.type, option(None, text)


def _fields(settings: Any) -> dict[str, dataclasses.Field]:
    """The settings of a source, or those that all have in common, by name."""
    return {field.name: field for field in dataclasses.fields(settings) if field.name != "source"}


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _values(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in _fields(settings)}
