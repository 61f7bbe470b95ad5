"""Reads the WordNet 3.0 database as a graph of words, and makes vectors from it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from data_tools.vectors.vector_files import WordTable
from tagnet.errors import InputError
from tagnet.system.files import read_text

FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
SIZE = 60_000  # words
DIM = 650  # of the vectors in Tesan et al.; Saedi et al. have 850
POSITION = re.compile(r"\((a|p|ip)\)$")  # where an adjective may stand; not part of the lemma
WEIGHTS = ("equal", "typed")
TYPED = dict.fromkeys(("!", "@", "@i", "~", "~i"), 1.0)  # antonym, hypernym, hyponym
TYPED |= dict.fromkeys(("%m", "%s", "%p", "#m", "#s", "#p"), 0.8)  # part, whole
OTHER = 0.5
Key = tuple[str, str]  # part of speech and offset: the name of a synset


@dataclass(frozen=True, eq=False)
class Graph:
    """Words and their links.

    Attributes:
        words: V lemmas in lower case, `_` between the words of a phrase.
        links: float32 [V, V] without a diagonal; row i holds the links from word i.
    """

    words: tuple[str, ...]
    links: sparse.csr_array


@dataclass(frozen=True)
class _Synset:
    """A line of a data file, with its location."""

    where: str
    key: Key
    words: list[str]
    pointers: list[tuple[str, Key]]


def database_files(directory: Path) -> dict[str, Path]:
    """The files that `read_graph` reads, by name."""
    return {name: directory / name for name in FILES.values()}


def build(
    directory: Path,
    dim: int = DIM,
    size: int = SIZE,
    wanted: Callable[[str], bool] = lambda word: False,
    weights: str = "equal",
) -> WordTable:
    """Makes vectors of the words with the most relations, in descending order of relations.

    Args:
        directory: the database.
        dim: of the vectors; there are as many as words at most.
        size: how many words.
        wanted: whether a word gets a vector however few its relations are.
        weights: see `read_graph`.

    Raises:
        InputError: the database is missing or damaged.
    """
    graph = most_linked(read_graph(directory, weights), size, wanted)
    from data_tools.vectors.random_walk import walk_vectors  # compiles

    return WordTable(graph.words, walk_vectors(graph.links, dim))


def read_graph(directory: Path, weights: str = "equal") -> Graph:
    """Reads the data files of a WordNet database; words in alphabetical order.

    Args:
        directory: where data.noun, data.verb, data.adj and data.adv are.
        weights: of a pointer: `equal`, always 1; `typed`, 1 for hypernyms, hyponyms and
            antonyms, .8 for parts and wholes, .5 for all others.

    Raises:
        InputError: a file is missing, or a line is not as the format has it.
    """
    synsets = [
        synset for pos, name in FILES.items() for synset in _read_synsets(directory / name, pos)
    ]
    row_of = {synset.key: row for row, synset in enumerate(synsets)}
    pointers = []
    for row, synset in enumerate(synsets):
        for symbol, target in synset.pointers:
            if target not in row_of:
                raise InputError(
                    f"{synset.where} points to synset {target[1]} of {FILES[target[0]]}, "
                    "which does not exist"
                )
            if target != synset.key:
                weight = 1 if weights == "equal" else TYPED.get(symbol, OTHER)
                pointers.append((row, row_of[target], weight))
    words = sorted({word for synset in synsets for word in synset.words})
    word_ids = {word: index for index, word in enumerate(words)}
    members = [
        (word_ids[word], row) for row, synset in enumerate(synsets) for word in set(synset.words)
    ]
    of_synset = _matrix([(*member, 1) for member in members], len(words), len(synsets))
    relations = _matrix(pointers, len(synsets), len(synsets))
    links = of_synset @ relations @ of_synset.T
    synonyms = (of_synset @ of_synset.T) > 0
    links = links - links * synonyms + synonyms
    links.setdiag(0)
    links.eliminate_zeros()
    links.sort_indices()
    return Graph(tuple(words), links.astype(np.float32))


def most_linked(graph: Graph, size: int, wanted: Callable[[str], bool]) -> Graph:
    """Keeps the `size` words of a graph that are linked to the most words.

    Among them are all that are wanted; words without a link stay out. Words with more
    links come first, equal ones in alphabetical order.
    """
    degrees = np.diff(graph.links.indptr)
    first = np.array([wanted(word) for word in graph.words])
    order = np.lexsort([-degrees, ~first])  # by the last key first, and stable
    order = order[degrees[order] > 0]
    order = order[: max(size, int(first[order].sum()))]
    order = order[np.lexsort([order, -degrees[order]])]
    links = sparse.csr_array(graph.links[order][:, order])
    links.sort_indices()
    return Graph(tuple(graph.words[row] for row in order), links)


def _matrix(entries: list[tuple], height: int, width: int) -> sparse.csr_array:
    """A matrix of entries (row, column, value); duplicates are summed."""
    rows, columns, values = np.array(entries, np.float64).reshape(-1, 3).T
    shape = height, width
    return sparse.csr_array((values, (rows.astype(np.int32), columns.astype(np.int32))), shape)


def _read_synsets(path: Path, pos: str) -> Iterator[_Synset]:
    synsets = 0
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line or line.startswith("  "):  # the licence, at the beginning
            continue
        where = f"{path}: line {number}"
        try:
            yield _parse(line, where, pos)
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(
                f"{where} must be a synset (see wndb(5)); received {line[:60]!r}"
            ) from error
        synsets += 1
    if not synsets:
        raise InputError(f"{path}: has no synsets (see wndb(5))")


def _parse(line: str, where: str, pos: str) -> _Synset:
    """Parses the fields before ` | `.

    They are: offset, file, type; number of words (hexadecimal), for each the word and an
    id; number of pointers, for each symbol, offset, part of speech and place.
    """
    fields = line.split(" | ")[0].split()
    end = 4 + 2 * int(fields[3], 16)
    words = [POSITION.sub("", word).lower() for word in fields[4:end:2]]
    last = end + 1 + 4 * int(fields[end])
    if len(fields) < last or not words:
        raise ValueError("cut off")
    pointers = []
    for at in range(end + 1, last, 4):
        symbol, offset, target_pos = fields[at : at + 3]
        target_pos = target_pos.replace("s", "a")  # satellite adjectives stand in data.adj
        if target_pos not in FILES:
            raise ValueError("no part of speech")
        pointers.append((symbol, (target_pos, offset)))
    return _Synset(where, (pos, fields[0]), words, pointers)
