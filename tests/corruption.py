"""The corruption matrix: every artefact on disk, damaged in every way, and what is made of it.

    python tests/corruption.py --out=docs/reliability.md

An artefact is damaged alone, and then everything is read that reads it. A case is detected (one
line that names the file and says what to do), mended (the artefact is made again as it was),
harmless (the answer is that of whole artefacts, to the bit), or wrong.
"""

import argparse
import dataclasses
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from corruption_subjects import subjects
from damage import KINDS, OUTCOMES, Subject, artefact

from tagnet.system.console import say

CUTS, FLIPS = 10, 50  # places at which a file is cut off, and bits that are flipped


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A case that was neither detected, nor mended, nor harmless."""

    subject: str
    file: str
    kind: str
    said: str


Counts = dict[tuple[str, str, str], Counter]
"""(subject, artefact, kind) → how many cases had which outcome."""


def matrix(
    subjects: Sequence[Subject],
    cuts: int = CUTS,
    flips: int = FLIPS,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Counts, list[Wrong]]:
    """Tries every case.

    Args:
        subjects: what is damaged.
        cuts, flips: at how many places a file is cut off, and bits are flipped.
        tell: is told how it goes.

    Returns:
        The counts, and what went wrong.
    """
    counts: Counts = {}
    wrong: list[Wrong] = []
    for subject in subjects:
        expected = subject.expected()
        for file in subject.files:
            for case in subject.cases(file, cuts, flips):
                outcome, line = subject.outcome(file, case, expected)
                key = (subject.name, artefact(file), case.kind)
                counts.setdefault(key, Counter())[outcome] += 1
                if outcome == "wrong":
                    wrong.append(Wrong(subject.name, file, case.kind, line))
            tell(f"{subject.name}: {file}")
    return counts, wrong


def table(counts: Counts) -> str:
    """The matrix as Markdown: a table for each subject, a row for each artefact."""
    lines = []
    for subject in dict.fromkeys(key[0] for key in counts):
        lines += [f"## {subject[0].upper()}{subject[1:]}", ""]
        lines += [f"| artefact | {' | '.join(KINDS)} |", f"|---{'|---' * len(KINDS)}|"]
        for name in dict.fromkeys(key[1] for key in counts if key[0] == subject):
            cells = [cell(counts.get((subject, name, kind))) for kind in KINDS]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def cell(counted: Counter | None) -> str:
    """`50 d` and the like: a count for each outcome."""
    if not counted:
        return "–"
    told = [f"{counted[outcome]} {outcome}" for outcome in OUTCOMES if counted[outcome]]
    return ", ".join(told)


def total(counts: Counts) -> Counter:
    """How many cases had which outcome, all together."""
    return sum(counts.values(), Counter())


TITLE = "# What damage on disks comes to"
TEXT = """Do not edit; it is written by

    python tests/corruption.py --cuts={cuts} --flips={flips} --out=docs/reliability.md

`make long-tests` makes the same matrix as a test. What kills come to is in [`kills.md`](kills.md).

Each artefact of a small prepared directory, of runs, of an exported model, and of what is written
in pieces (features of photographs, conditions, answers) was damaged alone: missing, empty, cut off
at {cuts} places, a bit flipped at {flips} places, the file of another data set of the same sizes in
its place, and, where an artefact tells its format, of an older one. The time of the file stayed
what it was. Then all was read that reads it. A case is

- **detected**: one line that names the file and says what to do, exit status 2 of a command;
- **mended**: the artefact was made again, equal to the bit;
- **harmless**: what came out is equal to the bit to what whole artefacts give;
- **wrong**: anything else.

{total}

What a run reads is compared with the checksums that were written last, `checksums.sha256` in each
folder (`sha256sum --check` reads it); a record that is damaged is named by its shard and number.
The next `data_tools.prepare` compares all that is there, and makes again what is not as it was
written. To export a run again, remove its `metrics.json` and start the run again: it is not trained
again. TensorFlow Serving itself compares nothing.

{table}
"""


def main() -> None:
    """Runs the whole matrix and writes the table; ends with status 1 where a case is wrong."""
    parser = argparse.ArgumentParser(description=str(__doc__))
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--cuts", type=int, default=CUTS)
    parser.add_argument("--flips", type=int, default=FLIPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        counts, wrong = matrix(subjects(Path(place)), options.cuts, options.flips, say)
    for case in wrong:
        say(f"wrong: {case}")
    say(told(counts))
    text = TEXT.format(
        cuts=options.cuts, flips=options.flips, total=told(counts), table=table(counts)
    )
    replace_part(options.out, TITLE, text)
    sys.exit(bool(wrong))


def replace_part(page: Path, title: str, text: str) -> None:
    """Writes the part of a page that has this title, and leaves the others."""
    there = page.read_text(encoding="utf-8") if page.exists() else ""
    parts = {part.partition("\n")[0]: part for part in re.split("^(?=# )", there, flags=re.M)}
    parts[title] = f"{title}\n\n{text}"
    whole = "\n\n".join(part.strip() for part in parts.values() if part.strip())
    page.write_text(f"{whole}\n", encoding="utf-8")


def told(counts: Counts) -> str:
    """The sums in a line."""
    found = total(counts)
    return f"{sum(found.values()):,} cases: " + ", ".join(
        f"{found[outcome]:,} {outcome}" for outcome in OUTCOMES
    )


if __name__ == "__main__":
    main()
