"""Draws the architectures: `<!-- diagram: ltwin -->` in a page becomes an SVG.

Drawn from left to right: what is read, the layer behind it, how neighbours are combined, and the
layer that gives the scores. Colours are those of the page, so that they follow dark mode.
"""

import dataclasses
import re
from html import escape

MARK = re.compile(r"<!-- diagram: (\w+) -->")
WIDTH, ROW, BOX = 104, 46, 32  # of a column, a row and a box's height, in pixels
GAP = 34  # between columns
IMAGE, NEIGHBOURS = "image", "neighbours"  # the classes of boxes


@dataclasses.dataclass(frozen=True)
class Path:
    """One input on its way to the scores.

    Attributes:
        kind: `image` or `neighbours`.
        boxes: the input, then what is done with it.
    """

    kind: str
    boxes: tuple[str, ...]


PHI_X = Path(IMAGE, ("φ_x", "FC W_x"))
PI_X = Path(IMAGE, ("π_x", "FC W_xu"))
PHI_Z = Path(NEIGHBOURS, ("m × φ_z", "FC W_z"))
PI_Z = Path(NEIGHBOURS, ("m × π_z", "FC W_zu"))


def _then(path: Path, box: str) -> Path:
    return Path(path.kind, (*path.boxes, box))


_TWIN_MAX = (PHI_X, _then(PHI_Z, "max"), PI_X, _then(PI_Z, "max"))
_TWIN_RNN = (PHI_X, _then(PHI_Z, "LSTM"), PI_X, _then(PI_Z, "LSTM"))
# The paths of each architecture, and what turns them into scores.
DRAWN: dict[str, tuple[tuple[Path, ...], str]] = {
    "v_only": ((Path(IMAGE, ("φ_x",)),), "W_u"),
    "ltn": ((PHI_X, _then(PHI_Z, "max")), "[ ] · W_y"),
    "rtn": ((PHI_X, _then(PHI_Z, "LSTM")), "[ ] · W_y"),
    "ltn_vecs": ((Path(IMAGE, ("[φ_x; π_x]", "FC W_x")), _then(PHI_Z, "max")), "[ ] · W_y"),
    "ltn_allvecs": (
        (
            Path(IMAGE, ("[φ_x; π_x]", "FC W_x")),
            Path(NEIGHBOURS, ("m × [φ_z; π_z]", "FC W_z", "max")),
        ),
        "[ ] · W_y",
    ),
    "ltwin": (_TWIN_MAX, "[ ] · W_y"),
    "ltwin_rnn": (_TWIN_RNN, "[ ] · W_y"),
    "ltwin_2rnn": (_TWIN_RNN, "LSTM, 4 steps"),
    "lzip": ((PHI_X, PI_X, PHI_Z, PI_Z), "LSTM, 2(m+1)"),
    "ltwin_kernel": (
        (
            Path(IMAGE, ("φ_x, π_x", "similarity", "W_k")),
            Path(NEIGHBOURS, ("all four", "ltwin")),
        ),
        "mean",
    ),
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replaces the marks in a page by diagrams."""
    return MARK.sub(lambda mark: diagram(mark[1]), markdown)


def diagram(arch: str) -> str:
    """The SVG of an architecture.

    Args:
        arch: a key of `DRAWN`.
    """
    paths, last = DRAWN[arch]
    columns = max(len(path.boxes) for path in paths)
    height = len(paths) * ROW
    middle = height / 2
    at_last = columns * (WIDTH + GAP)
    parts = []
    for row, path in enumerate(paths):
        y = row * ROW + ROW / 2
        for column, text in enumerate(path.boxes):
            x = column * (WIDTH + GAP)
            parts.append(_box(x, y, text, "input" if column == 0 else path.kind))
            if column + 1 < len(path.boxes):
                parts.append(_arrow(x + WIDTH, y, x + WIDTH + GAP, y))
        end = (len(path.boxes) - 1) * (WIDTH + GAP) + WIDTH
        parts.append(_arrow(end, y, at_last, middle))
    parts.append(_box(at_last, middle, last, "output"))
    parts.append(_arrow(at_last + WIDTH, middle, at_last + WIDTH + GAP, middle))
    parts.append(_box(at_last + WIDTH + GAP, middle, "scores F", "input"))
    width = at_last + 2 * WIDTH + GAP
    return (
        f'<svg class="diagram" role="img" aria-label="Diagram of {arch}" '
        f'viewBox="-2 -2 {width + 4} {height + 4}" style="max-width: {width}px">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        + "".join(parts)
        + "</svg>"
    )


def _box(x: float, y: float, text: str, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x}" y="{y - BOX / 2}" width="{WIDTH}" height="{BOX}" rx="5"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + 4}">{_subscripts(text)}</text>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    bend = to_x - GAP / 2
    return f'<path class="arrow" d="M{x} {y}H{bend}L{to_x} {to_y}"/>'


def _subscripts(text: str) -> str:
    """`W_xu` with its subscript set low."""
    return re.sub(
        r"_(\w+)",
        r'<tspan class="low" dy="3">\1</tspan><tspan dy="-3">&#8203;</tspan>',
        escape(text),
    )
