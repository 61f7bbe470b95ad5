"""A data set under a condition: its images' tags, and the neighbours found by them."""

from pathlib import Path

import numpy as np

from experiments.paper.conditions import Perturbation
from tagnet.data.dataset import PreparedDataset
from tagnet.data.records import write_neighbourhoods
from tagnet.data.tags import TagLists
from tagnet.search.neighbours import Neighbourhoods, nearest
from tagnet.settings import PARTS
from tagnet.system.files import atomic_write

WORDS, DROPS, MIXES, ORDER = range(4)  # what random numbers are for, beside seed and split


class Setup:
    """The images of a data set under a condition.

    Args:
        dataset: as it was prepared.
        condition: what is different.
        split: which random split.
        seed: of all that is drawn.
        part: whose images lose tags or get wrong ones.

    Attributes:
        words: ids of the vocabulary in use, int64, ascending; None for all of it.
        tags: the tags of every image, ids of the whole vocabulary.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        condition: Perturbation,
        split: int,
        seed: int,
        part: str = "test",
    ) -> None:
        self._dataset = dataset
        self._condition = condition
        self._split = dataset.split(split)
        self._seed = (seed, split)
        self.words: np.ndarray | None = None
        tags = dataset.tags
        if condition.overlap is not None:
            self.words = deal(len(dataset.vocabulary), condition.overlap, self._rng(WORDS))
            tags = renumbered(tags, self.words)
            tags = TagLists(self.words[tags.ids].astype(np.int32), tags.offsets)
        if condition.dropped or condition.wrong:
            tags = self._disturbed(tags, self._split[part])
        self.tags = tags

    def encoded(self, encoding: str, known: np.ndarray | None = None) -> TagLists | np.ndarray:
        """π of all images: ids for `id`, otherwise ρ(o_x; β) [N, n].

        Args:
            encoding: `id`, `w2v` or `wnet`.
            known: for `id` the words that count, which are numbered anew; None for all.
        """
        if encoding == "id" and known is not None:
            return renumbered(self.tags, known)
        return self._dataset.encoded(encoding, self.tags)

    def nearest(self, part: str, encoding: str, pool: str, M: int) -> Neighbourhoods:
        """The M nearest of the images of a part, in the order that the condition says."""
        rows = self._split[part]
        candidates = {
            "open": np.arange(self._dataset.num_images),
            "closed": rows,
            "train": self._split["train"],
        }[self._condition.pool or pool]
        features = self._dataset.features
        found = nearest(self.encoded(encoding), features, rows, candidates, M)
        if self._condition.shuffled:
            order = self._rng(ORDER).random(found.neighbours.shape).argsort(axis=1)
            for values in (found.neighbours, found.distances):
                values[:] = np.take_along_axis(values, order, axis=1)
        return found

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self._seed, purpose])

    def _disturbed(self, tags: TagLists, rows: np.ndarray) -> TagLists:
        """The tags with some dropped and wrong ones mixed in, for the images `rows`."""
        lists = list(tags)
        # By all images that have it; an image's own tags are never mixed in.
        rates = np.bincount(tags.ids, minlength=len(self._dataset.vocabulary)).astype(float)
        drops, mixes = self._rng(DROPS), self._rng(MIXES)
        for row in rows:
            own = lists[row]
            kept = own[drops.random(len(own)) >= self._condition.dropped]
            with np.errstate(divide="ignore"):
                arrivals = mixes.exponential(size=len(rates)) / rates
            arrivals[own] = np.inf
            wanted = int(self._condition.wrong * len(own) + mixes.random())
            others = np.argsort(arrivals)[: min(wanted, int(np.isfinite(arrivals).sum()))]
            lists[row] = np.concatenate([kept, others])
        return TagLists.from_lists(lists)


def deal(size: int, overlap: float, rng: np.random.Generator) -> np.ndarray:
    """Takes one word of each pair of adjacent words in a vocabulary sorted by frequency.

    Args:
        size: τ; of an odd number the last word is left out.
        overlap: the share of pairs whose old word is taken.
        rng: deals; in the same state it makes the same halves and, as `overlap` grows,
            ever more of the same pairs.

    Returns:
        Ids int64 [τ // 2], ascending.

    >>> old, new = (deal(6, overlap, np.random.default_rng(1)) for overlap in (1, 0))
    >>> old.tolist(), new.tolist()
    ([0, 2, 5], [1, 3, 4])
    """
    pairs = rng.permuted(np.arange(size // 2 * 2).reshape(-1, 2), axis=1)
    old = rng.permutation(len(pairs)) < round(overlap * len(pairs))
    return np.where(old, pairs[:, 0], pairs[:, 1])


def renumbered(tags: TagLists, words: np.ndarray) -> TagLists:
    """The tags that are among `words` (ascending ids), by their place there.

    >>> renumbered(TagLists.from_lists([[1, 4], [2]]), np.array([2, 4])).ids.tolist()
    [1, 0]
    """
    kept = np.isin(tags.ids, words)
    offsets = np.concatenate([[0], np.cumsum(kept)])[tags.offsets]
    return TagLists(np.searchsorted(words, tags.ids[kept]).astype(np.int32), offsets)


def perturbed(
    dataset: PreparedDataset, condition: Perturbation, split: int, seed: int, folder: Path
) -> PreparedDataset:
    """The training data of a run under a condition: tags, and the neighbours found by them.

    Args:
        dataset: as it was prepared.
        condition: what is different.
        split: which random split.
        seed: of all that is drawn.
        folder: where its neighbourhoods are written, when they are first asked for.
    """
    situation = Setup(dataset, condition, split, seed)
    words = np.arange(len(dataset.vocabulary)) if situation.words is None else situation.words

    def neighbourhoods(encoding: str, pool: str) -> Path:
        directory = folder / f"{encoding}-{pool}"
        if not directory.exists():
            with atomic_write(directory) as temporary:
                for part in PARTS:
                    M = dataset.max_rank(encoding, pool)
                    found = situation.nearest(part, encoding, pool, M)
                    write_neighbourhoods(
                        temporary, part, found.rows, found.neighbours, found.distances
                    )
        return directory

    return dataset.with_tags(renumbered(situation.tags, words), words, neighbourhoods)
