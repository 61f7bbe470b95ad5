"""Words that no page shows among a neighbour's tags.

Tags are what strangers wrote about a photo; some demean the people in it. They are left out where
pages are drawn and not of the data: the demo data set with fewer tags would be another data set,
with other vectors, neighbours and figures.
"""

from collections.abc import Iterable

HIDDEN = frozenset(
    "ass asshole babe bitch boobs busty cunt erotic fuck fucking hooker hottie milf naked nude "
    "nudes porn pussy retard retarded sex sexy slut sluts tits topless tranny "
    "upskirt whore xxx".split()
)


def shown(tags: Iterable[str]) -> list[str]:
    """The tags that a page shows.

    >>> shown(["woman", "Sexy", "pole"])
    ['woman', 'pole']
    """
    return [tag for tag in tags if tag.casefold() not in HIDDEN]
