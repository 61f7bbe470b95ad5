"""Compares runs with the paper: tables, figures and one HTML report.

    python -m experiments.report runs/sweep-demo-demo-open-seed0

Into the folder: report.md, index.html, tables/ (Markdown, CSV, LaTeX), figures/ (SVG, PDF,
PNG), significance.csv and labels.csv. The same runs give the same files, but for the
command and the day in the footer of index.html; how long runs took is in costs.csv alone.
"""

import dataclasses
from pathlib import Path

from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import option
from tagnet.system.files import remove_unfinished
from tagnet.system.locks import exclusive
from tagnet.system.runtime import import_tensorflow

USAGE = """Compares runs with the paper: tables, figures and one HTML report.

  python -m experiments.report FOLDER ... [--out=DIR]

A folder is a run directory or contains run directories (e.g. of a sweep)."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of a report."""

    out: Path | None = option(None, "folder to write [report/ in the first folder]")
    photos: Path | None = option(None, "folder of the photos [recorded in the data set]")
    compare: tuple[str, ...] = option(
        (), "test whether two rows, A,B, differ significantly, and stop [none]"
    )
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.arguments:
            raise InputError("give at least one folder of runs; received none")
        if self.compare and len(self.compare) != 2:
            raise InputError(
                f"--compare must name two rows (a,b); received {','.join(self.compare)!r}"
            )
        if self.photos is not None and not self.photos.is_dir():
            raise InputError(f"--photos must be a folder; received {str(self.photos)!r}")


def main(options: Options) -> None:
    """Runs the command."""
    # What is imported takes seconds, which a wrong flag must not wait for.
    import_tensorflow()
    from experiments.reports.report import Report, check_labels, remarks, say_comparison, say_rows
    from experiments.runs import results

    folders = [Path(folder) for folder in options.arguments]
    finished, unfinished = results.find(folders)
    groups = results.read_groups(finished)
    if options.compare:
        say_comparison(groups, *options.compare)
        return
    check_labels(groups)
    out = options.out or folders[0] / "report"
    report = Report(groups, remarks(folders, groups, unfinished), options.photos)
    with exclusive(out, "report"):
        report.write(out)
        remove_unfinished([*out.glob("*"), *out.glob("tables/*"), *out.glob("figures/*")])
    say_rows(groups)
    console.say(f"{console.counted(len(finished), 'run')} in {console.counted(len(groups), 'row')}")
    console.say(f"page      {out / 'index.html'}")
    console.say(f"tables    {out / 'report.md'}, {out / 'tables'}")
    console.say(f"figures   {out / 'figures'}")


if __name__ == "__main__":
    console.run(Options, main, USAGE)
