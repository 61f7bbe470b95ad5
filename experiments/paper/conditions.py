"""Test-time conditions that differ from the prepared data: tags, neighbours, averaging.

A model is trained under one condition and scored on the test images under others.

**Another vocabulary.** The words are taken in pairs of like frequency, and of each pair one
is dealt to the old vocabulary and one to the new, by seed and split. A model is trained with
the old one: its images have no other tags, and neighbours are found by these. At test *all*
images, also those that neighbours are chosen among, have the tags of the new one. With
overlap o a share o of the pairs keeps its old word: 0 is the other half, 1 the old
vocabulary, and all are of the same size.

The distance is therefore the one of training, on new tags: tag sets of one vocabulary are
compared with each other, by Jaccard (`id`) or as vectors. That is what the protocol allows,
since the pool has no labels: whoever moves to another vocabulary moves with his images.
Between a new tag set and an old one Jaccard would be 1 for every pair. What is fed to the graph
is π̃(o_x): β knows the new words, as they are of the same space. `id` has no such map, so that
new words are unknown to it and left out.

**Fewer tags, wrong tags.** They change the test images alone, which others meet so too when
they are neighbours; those of the other parts keep theirs. A tag goes with probability
`dropped`. For each own tag an image gets `wrong` others, drawn by their frequency. Draws
are nested: what is dropped, or mixed in, at some level is so at every higher one.

An image without a usable tag has the neighbours that look alike, as everywhere.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """What is changed; by default nothing.

    Attributes:
        pool: where neighbours come from; None as the run's settings say.
        overlap: the share of the old half of the vocabulary that is in the one in use;
            None: the whole vocabulary is in use.
        dropped: the probability with which a test image loses a tag.
        wrong: how many tags of others a test image gets for each of its own.
        shuffled: whether neighbours come in random order instead of nearest first.
        samples: how many drawn neighbourhoods are averaged over; None as the settings say.
    """

    pool: str | None = None
    overlap: float | None = None
    dropped: float = 0.0
    wrong: float = 0.0
    shuffled: bool = False
    samples: int | None = None

    @property
    def name(self) -> str:
        """The name in file names: `dropped_0.3`; `usual` if nothing is changed."""
        told = [
            f"{field.name}_{getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return "-".join(told) or "usual"


UNCHANGED = Perturbation()
OLD_HALF = Perturbation(overlap=1.0)
