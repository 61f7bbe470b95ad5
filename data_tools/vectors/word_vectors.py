"""β for the vocabulary: finds the words of a vector table that stand for each tag.

The rules are tried in this order, and the first that finds known words decides:

    as it is     sunset; with capitals, as some files have names: Paris, New_York, USA
    singular     beaches → beach, cherries → cherry, women → woman
    joined       newyorkcity → New_York_City, t_shirt → tshirt
    parts        golden_gate_park → golden, gate and park, if all are known
    two words    longexposure → long and exposure; of all places to cut, the one whose rarer
                 word stands earliest in the table; with three letters in place of four,
                 germany would be germ and any

Where several words stand for a tag it gets the mean of their vectors. A tag that no rule
finds gets zeros, adds nothing to ρ and is counted as unknown.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.vectors.vector_files import WordTable
from tagnet.data.embeddings import Embedding
from tagnet.data.tags import Vocabulary
from tagnet.errors import InputError

JOINTS = re.compile("[ _-]")
# Endings of plurals and of their singulars; what they give is used only if it is known.
PLURALS = {
    "children": "child",
    "men": "man",
    "feet": "foot",
    "teeth": "tooth",
    "mice": "mouse",
    "geese": "goose",
    "ies": "y",
    "ives": "ife",
    "ves": "f",
    "s": "",
    "es": "",
}
SHORTEST_SINGULAR = 3  # letters
SHORTEST_OF_TWO = 4  # letters of each of two words that are written as one

# Settings of `train`.
DIM = 300
EPOCHS = 10


class _Words:
    """The words of a table, for look-ups by the rules."""

    def __init__(self, words: Sequence[str]) -> None:
        self.ranks = {word: rank for rank, word in enumerate(words)}
        # From the last to the first, so that of two phrases the earlier one stays.
        self._phrases = {
            JOINTS.sub("", word).lower(): word for word in reversed(words) if JOINTS.search(word)
        }

    def rank(self, word: str) -> int | None:
        """The position of `word` in the table."""
        return self.ranks.get(word)

    def phrase(self, joined: str) -> str | None:
        """The phrase that becomes `joined` when written as one lower-case word."""
        return self._phrases.get(joined)


class _Asked(_Words):
    """Knows no word, so that every rule is tried, and records the look-ups."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.phrases: set[str] = set()

    def rank(self, word: str) -> None:
        self.words.add(word)

    def phrase(self, joined: str) -> None:
        self.phrases.add(joined)


def spellings(tag: str) -> Iterator[str]:
    """Spellings of a tag in files of word vectors: as it is, then with capitals.

    >>> list(spellings("new_york"))
    ['new_york', 'New_York', 'New_york', 'NEW_YORK']
    """
    initials = "_".join(part[:1].upper() + part[1:] for part in tag.split("_"))
    yield from dict.fromkeys([tag, initials, tag[:1].upper() + tag[1:], tag.upper()])


def _as_it_is(tag: str, words: _Words) -> list[str]:
    return [word for word in spellings(tag) if words.rank(word) is not None][:1]


def _singular(tag: str, words: _Words) -> list[str]:
    found = []
    for plural, singular in PLURALS.items():
        word = tag.removesuffix(plural) + singular
        if tag.endswith(plural) and len(word) >= SHORTEST_SINGULAR:
            found += _as_it_is(word, words)
    return found[:1]


def _joined(tag: str, words: _Words) -> list[str]:
    joined = JOINTS.sub("", tag)
    phrase = words.phrase(joined)
    return [phrase] if phrase is not None else _as_it_is(joined, words)


def _parts(tag: str, words: _Words) -> list[str]:
    parts = [part for part in JOINTS.split(tag) if part]
    found = [_as_it_is(part, words) or _singular(part, words) for part in parts]
    return [word for words in found for word in words] if all(found) else []


def _two_words(tag: str, words: _Words) -> list[str]:
    if not tag.isalpha():
        return []
    best: tuple[int, list[str]] | None = None
    for cut in range(SHORTEST_OF_TWO, len(tag) - SHORTEST_OF_TWO + 1):
        pair = [tag[:cut], tag[cut:]]
        first, second = map(words.rank, pair)
        if first is not None and second is not None:
            best = min(best or (max(first, second), pair), (max(first, second), pair))
    return best[1] if best else []


RULES: Mapping[str, Callable[[str, _Words], list[str]]] = {
    "as it is": _as_it_is,
    "singular": _singular,
    "joined": _joined,
    "parts": _parts,
    "two words": _two_words,
}


def wanted(vocabulary: Vocabulary) -> Callable[[str], bool]:
    """A predicate: whether `look_up` may need a word."""
    asked = _Asked()
    for tag in vocabulary.words:
        for rule in RULES.values():
            rule(tag, asked)
    return lambda word: (
        word in asked.words
        or bool(JOINTS.search(word) and JOINTS.sub("", word).lower() in asked.phrases)
    )


def look_up(
    vocabulary: Vocabulary, table: WordTable, guess: bool = True
) -> tuple[Embedding, dict[str, int]]:
    """Finds each tag's vector by the rules above.

    Args:
        vocabulary: the tags.
        table: the words that have a vector.
        guess: whether a tag that is not in the table as it is tries the other rules.

    Returns:
        β, and how many tags each rule found.
    """
    words = _Words(table.words)
    vectors = np.zeros([len(vocabulary), table.vectors.shape[1]], np.float32)
    tried = RULES if guess else {"as it is": _as_it_is}
    rules: dict[str, int] = dict.fromkeys(RULES, 0)
    known = np.zeros(len(vocabulary), bool)
    for row, tag in enumerate(vocabulary.words):
        for name, rule in tried.items():
            if found := rule(tag, words):
                vectors[row] = table.vectors[[words.ranks[word] for word in found]].mean(axis=0)
                known[row] = True
                rules[name] += 1
                break
    return Embedding(vectors, known), rules


def write_embedding(
    directory: Path, encoding: str, embedding: Embedding, where: str | Path
) -> dict[str, Any]:
    """Checks and writes `embeddings/ENCODING.npz`.

    Raises:
        InputError: not one word is known, or a vector holds something that is not finite.
    """
    if not embedding.known.any():
        raise InputError(f"{where}: has no vector for any tag of the vocabulary")
    if not np.isfinite(embedding.vectors).all():
        raise InputError(f"{where}: vectors must be finite; received NaN or infinity")
    embedding.save(directory / "embeddings" / f"{encoding}.npz")
    return {"n": embedding.vectors.shape[1], "known": int(embedding.known.sum())}


def train(tag_lists: Iterable[Sequence[str]], seed: int) -> WordTable:
    """Trains word2vec (skip-gram) on the tags of the images, as if each image were a sentence.

    An image's tags have no order, so all of them are each other's context. One thread, so
    that the same tags and seed give the same vectors.

    Args:
        tag_lists: the known tags of each image.
        seed: of the start and the draws.

    Returns:
        Vectors of all tags that stand beside another one.

    Raises:
        InputError: no image has two tags.
    """
    sentences = [list(tags) for tags in tag_lists if len(tags) > 1]
    if not sentences:
        raise InputError("--word_vectors=train: no image has two known tags to train on")
    from gensim.models import Word2Vec  # takes a second

    model = Word2Vec(
        sentences,
        vector_size=DIM,
        window=max(map(len, sentences)),
        shrink_windows=False,
        sg=1,
        min_count=1,
        sample=0,  # tags have no stop words
        epochs=EPOCHS,
        seed=seed,
        workers=1,
    )
    return WordTable(tuple(model.wv.index_to_key), model.wv.vectors)
