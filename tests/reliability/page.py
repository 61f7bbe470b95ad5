"""Writes the pages of docs/ that say what comes of kills, damaged files and full disks.

PYTHONPATH=tests python -m reliability.page
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from reliability import matrix
from reliability.matrix import OUTCOMES, Lab, Row

DOCS = Path(__file__).parents[2] / "docs"
CRASH_RECOVERY = """# Crash recovery: results

Do not edit; `PYTHONPATH=tests python -m reliability.page` writes it. `make long-tests` tries the
same.

Each command was killed with SIGKILL and started again with the same flags: every second time just
before one of its own file operations, every other time by the clock, wherever it was then. Some
were killed twice. Moments are drawn from all of a command's work, after it has loaded its
libraries. A command of which several may work in one folder was also started three times at once;
each must do its part, or be refused in one line.

Then what was on disk was compared with what an undisturbed command makes: every file but
TensorBoard's logs, a report's table of costs and a search's journal, to the bit, without the
seconds that it took. Of a SavedModel the assets, the variables and the operations of the graph
were compared.

"""
CORRUPTED_FILES = """# Corrupted files: what is detected

Do not edit; `PYTHONPATH=tests python -m reliability.page` writes it. `make long-tests` tries the
same. What comes of kills is in [`crash_recovery.md`](crash_recovery.md).

One file of each kind was damaged alone: missing, empty, cut off, or with a bit flipped, at several
places. The time of the file stayed what it was. Then the command was started that reads it. A case
is

- **detected**: one line that names the file, and exit status 2, or 1 where a sweep goes on with its
  other runs;
- **mended**: the file was made again, equal to the bit;
- **harmless**: the results are those of undamaged files, to the bit;
- **wrong**: anything else.

What a run reads is compared with `checksums.sha256`, which each folder has (`sha256sum --check`
reads it). The next `data_tools.prepare` compares all that is there, and makes again what is not as
it was written. Files that are there to go on from have no checksums, and no bits were flipped in
them. To export a run again, remove its `metrics.json` and start the run again: it is not trained
again. TensorFlow Serving itself compares nothing.

"""
FULL_DISKS = """
## Full disks

Each command was started on a tmpfs of less room than it needs, and on one that cannot be written.
Then there was room, and it was started again. A case is **detected** if the command ended with one
line and exit status 2, left nothing half-written, and the second start ended with the files of an
undisturbed command; **harmless** if the first did so already. Where HDF5 meets the full disk, lines
of its own come before that one.

"""


def counted(rows: Sequence[Row]) -> str:
    """How many cases had which outcome."""
    found = Counter(row.outcome for row in rows)
    told = [f"{found[outcome]:,} {outcome}" for outcome in OUTCOMES if found[outcome]]
    return f"{len(rows):,} cases: {', '.join(told)}, {found['wrong']} wrong"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown: a line for each artefact, or command, and a column for each kind."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    named = any(row.what for row in rows)
    cells: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for row in rows:
        kind = cells.setdefault((row.command, row.what), {}).setdefault(row.kind, Counter())
        kind[row.outcome] += 1
    head = ["command", *(["file"] if named else []), *kinds]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for (command, what), found in cells.items():
        line = [f"{command}", *([f"`{what}`"] if named else [])]
        for kind in kinds:
            outcomes = found.get(kind, Counter())
            line.append(", ".join(f"{outcomes[o]} {o}" for o in OUTCOMES if outcomes[o]) or "–")
        lines.append(f"| {' | '.join(line)} |")
    return f"{counted(rows)}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Tries everything and writes both pages; ends with status 1 where something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        kills, damages, disks = (
            list(tqdm(matrix.rows(lab, cases), cases.__name__))
            for cases in (matrix.kills, matrix.damages, matrix.disks)
        )
    (DOCS / "crash_recovery.md").write_text(CRASH_RECOVERY + table(kills), encoding="utf-8")
    (DOCS / "corrupted_files.md").write_text(
        CORRUPTED_FILES + table(damages) + FULL_DISKS + table(disks), encoding="utf-8"
    )
    wrong = [str(row) for row in (*kills, *damages, *disks) if row.outcome == "wrong"]
    sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
