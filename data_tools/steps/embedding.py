"""Origins of an encoding's word vectors: what they depend on and how to read them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools import packed
from data_tools.sources.base import Source
from data_tools.vectors import word_vectors, wordnet
from data_tools.vectors.vector_files import WordTable, read_vectors
from tagnet.data.tags import TagLists, Vocabulary


@dataclass(frozen=True)
class Origin:
    """Where word vectors come from.

    Attributes:
        name: what lines about them call it.
        settings: the settings on which they depend.
        read: the tags that have ids, and the ids of every image → their words and vectors,
            all that the vocabulary may have a use for.
        inputs: the user's files on which they depend, by the part they play.
        guess: whether a tag that is not among the words as it is written is looked for by
            the other rules of `word_vectors`.
    """

    name: str
    settings: dict[str, Any]
    read: Callable[[Vocabulary, TagLists], WordTable]
    inputs: dict[str, Path] = field(default_factory=dict)
    guess: bool = True


def from_file(path: Path, encoding: str) -> Origin:
    """Word vectors from a file, perhaps in a zip."""
    zipped, member = packed.split(path)
    return Origin(
        str(path),
        {"from": "a file"} | ({} if member is None else {"member": member}),
        lambda vocabulary, tags: read_vectors(path, word_vectors.wanted(vocabulary)),
        {f"{encoding} vectors": zipped},
    )


def from_tags(seed: int) -> Origin:
    """Word vectors trained on the tags of the data set."""
    return Origin(
        "--word_vectors=train",
        {"from": "the tags", "seed": seed},
        lambda vocabulary, tags: word_vectors.train(map(vocabulary.decode, tags), seed),
    )


def from_source(source: Source, encoding: str) -> Origin:
    """Word vectors that a source provides."""
    return Origin(
        "the source",
        {"from": "the source"},
        lambda vocabulary, tags: source.word_table(encoding),
        guess=False,  # it was made for the source's tags: what it lacks, it lacks on purpose
    )


def from_wordnet(folder: Path, dim: int) -> Origin:
    """Word vectors made from the WordNet database."""
    return Origin(
        str(folder),
        {"from": "WordNet", "wordnet_dim": dim},
        lambda vocabulary, tags: wordnet.build(folder, dim, wanted=word_vectors.wanted(vocabulary)),
        wordnet.database_files(folder),
    )
