"""Words that no page shows among a neighbour's tags.

Tags are what strangers wrote about a photo; some demean the people in it. They are left out where
pages are drawn and not of the data: the demo data set with fewer tags would be another data set,
with other vectors, neighbours and figures.
"""

from collections.abc import Iterable

from tagnet.system.console import counted

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


def left_out(tags: Iterable[str]) -> str:
    """How many of these tags of neighbours a page leaves out, as HTML; empty if none.

    >>> left_out(["woman", "Sexy", "pole"])
    '<p>1 offensive tag of neighbours not shown</p>'
    """
    tags = list(tags)
    hidden = len(tags) - len(shown(tags))
    return f"<p>{counted(hidden, 'offensive tag')} of neighbours not shown</p>" if hidden else ""
