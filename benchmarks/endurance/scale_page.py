"""The page docs/evidence/scale.md: fits through two sizes, and what they come to at others."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

TARGETS = (10**6, 10**7, 10**8)
LEAST = 0.5  # seconds at the second size; what takes less is left out
UNITS = {
    "s": [(60, "min"), (60, "h"), (24, "days"), (365, "years")],
    "MB": [(1000, "GB"), (1000, "TB"), (1000, "PB")],
}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A quantity as a function of the number of images N.

    Attributes:
        name: what the table calls it.
        unit: `s`, `MB`.
        kind: `line`; `square`, a N + b N², where all pairs are looked at, or a share of them;
            `power` of N; or the size of `pieces` of candidates, each of which answers all N, so
            that the quantity goes with N ⌈N / size⌉. What does not grow between the two sizes
            is a constant, the larger of the two, in each of them.
        points: (N, value), two of them.
        checked: N and what was measured there.
    """

    name: str
    unit: str
    kind: str | int
    points: tuple[tuple[int, float], tuple[int, float]]
    checked: tuple[int, float]

    @property
    def _exponent(self) -> float:
        (n, a), (m, b) = self.points
        return math.log(b / a) / math.log(m / n)

    @property
    def _slope(self) -> float:
        (n, a), (m, b) = self.points
        return (b - a) / (m - n)

    @property
    def _square(self) -> tuple[float, float]:
        (n, a), (m, b) = self.points
        of_pairs = max((b / m - a / n) / (m - n), 0.0)
        return b / m - of_pairs * m, of_pairs

    def at(self, images: int) -> float:
        """The fitted value."""
        (n, a), (m, b) = self.points
        if b <= a:
            return a
        if isinstance(self.kind, int):
            return b * images / m * math.ceil(images / self.kind) / math.ceil(m / self.kind)
        if self.kind == "square":
            each, of_pairs = self._square
            return each * images + of_pairs * images**2
        if self.kind == "power":
            return a * (images / n) ** self._exponent
        return a + self._slope * (images - n)

    @property
    def formula(self) -> str:
        """The fit, as the table shows it; N in millions."""
        (_, a), (m, b) = self.points
        if b <= a:
            return short(a)
        if isinstance(self.kind, int):
            each = b / m * 1e6 / math.ceil(m / self.kind)
            return f"{short(each)} N ⌈N / {self.kind / 1e6:.3g}⌉"
        if self.kind == "square":
            each, of_pairs = self._square
            return f"{short(each * 1e6)} N + {short(of_pairs * 1e12)} N²"
        if self.kind == "power":
            return f"{short(self.at(10**6))} N^{self._exponent:.2f}"
        return f"{short(self.at(0))} + {short(self._slope * 1e6)} N"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def kind_of(name: str, pieces: Mapping[str, int]) -> str | int:
    """How a figure grows: a search for neighbours, and what its pieces answer, as no line."""
    if name in pieces:
        return pieces[name]
    if not name.startswith("by "):
        return "line"
    return "power" if name.endswith("hnsw") else "square"


def fits(
    sizes: Sequence[int], measured: Sequence[dict[str, float]], unit: str, pieces: Mapping[str, int]
) -> list[Fit]:
    """A fit for each figure through the first two sizes, with the third to check it."""
    first, second, third = measured
    return [
        Fit(
            name,
            unit,
            kind_of(name, pieces),
            ((sizes[0], first[name]), (sizes[1], second[name])),
            (sizes[2], third[name]),
        )
        for name in first
        if unit != "s" or second[name] >= LEAST
    ]


def shown(value: float, unit: str) -> str:
    """A time or a size in a unit that people read."""
    for step, name in UNITS[unit]:
        if value < 2 * step:
            break
        value, unit = value / step, name
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def table(found: Sequence[Fit]) -> str:
    """All fits as Markdown."""
    sizes = [*(size for size, _ in found[0].points), found[0].checked[0]]
    heads = ["", *(f"{size:,}" for size in sizes[:2]), "fit, N in millions"]
    heads += [f"{sizes[2]:,}: measured / fitted", *(f"10^{len(str(n)) - 1}" for n in TARGETS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for fit in found:
        cells = [fit.name, *(f"{short(value)} {fit.unit}" for _, value in fit.points), fit.formula]
        measured, fitted = fit.checked[1], fit.at(fit.checked[0])
        cells.append(f"{short(measured)} / {short(fitted)} {fit.unit} = {measured / fitted:.2f}")
        cells += [shown(fit.at(target), fit.unit) for target in TARGETS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def quickest(searches: Sequence[Fit], memory: Sequence[Fit]) -> str:
    """Which search by vectors takes least at each size, and the memory of its process."""
    ways = {fit.name.rpartition(", ")[2]: fit for fit in searches if "vectors" in fit.name}
    peaks = {fit.name: fit for fit in memory}
    cells = []
    for target in TARGETS:
        best = min(ways, key=lambda way: ways[way].at(target))
        peak = peaks.get(f"prepare, {best} alone", peaks["prepare"])
        cells.append(f"{best}: {shown(ways[best].at(target), 's')}, {shown(peak.at(target), 'MB')}")
    return f"| fastest search by vectors | {' | '.join(cells)} |"


PAGE = """# Time, memory and disk for millions of images

**What it means for you.** A million images are a matter of hours on one machine. For more, look up
the time, memory and disk that you need in the last columns of the tables; the parts that grow
fastest can be spread over several machines.

Generated; do not edit. To regenerate:

    {command}

Stages were measured on made-up copies of NUS-WIDE of the two smaller sizes, with 4,096 features
and about 10 tags per image and 24 neighbours, and a curve was fitted through the two: a line if a
stage reads each image once, otherwise as shown in the column "fit". The last three columns
extrapolate that fit. The third size was measured as well and is shown next to its fitted value,
so that you can judge the fit; note that the extrapolation goes up to {factor:,.0f} times as many
images.

{beside}{described}; {note}

## Time

{time}

Stages that take less than {least} s at {second:,} images are omitted: {left_out}. Rows that begin
with `run` are one epoch of `ltn` on {share:.0%} of the images in batches of 64, with the features
on the device or mapped from disk; "all else" is loading, scoring validation and test, and the
export. Features of photographs are those of EfficientNet-Lite0, from {photos:,} JPEG files in
turn.

The neighbour searches only, in CPU seconds of one core:

{search}

The exact search by vectors compares all pairs, the one by tags all pairs that share a tag, and
`ivf` one cell in 16. So a part of each grows with N², and its share is larger in the
extrapolation than in the measurement.

The exact searches and the features of photographs are split into independent tasks, which
`--engine=ray` distributes over a cluster: at best, these times are divided by the number of
machines. The approximate searches (`hnsw`, `ivf`) stay in the process of `prepare`.

## Memory

Peak memory of the process, without memory-mapped files.

{memory}

## Disk

{disk}

Neighbours are those of one encoding, pool and split. The cache is what `--placement=mmap` adds.

## Network

Pickled data that a preparation by a cluster (`--engine=ray`) sends between machines, for `id` and
`w2v` and one pool. Files are not included: on a network disk, the sizes under Disk are transferred
once when written and once for each machine that reads them.

{network}

A search is split into pieces of {sets:,} candidates by tags and {vectors:,} by vectors. Each
piece returns 12 bytes for each of the 24 neighbours of each image. Data that all pieces share is
sent to each machine once.

## Which neighbour index

| | {targets} |
|---|---|---|---|
{quickest}

CPU time of one core, and the peak memory of the process that searches. Recall of the exact
neighbours of 1,000 images was {hnsw} for `hnsw` and {ivf} for `ivf`, at {sizes} images; for more
images it was not measured. Neighbours by tags are always exact.
"""
