"""Makes the missing runs of tables and figures of the paper.

    python -m experiments.sweep --tables=3 --data=DIR --splits=0,1,2,3,4

An interrupted sweep resumes when it is started again. Several processes can share a folder, also
from machines that share its disk; no run is made twice.
"""

import dataclasses
import textwrap

from experiments.paper import published
from experiments.runs.options import BASELINE_ROWS, BASELINES, RowFlags
from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import option, require_all_of
from tagnet.system.runtime import import_tensorflow

USAGE = f"""Makes the missing runs of tables and figures of the paper, and of the baselines.

  python -m experiments.sweep --tables=3 [--data=DIR] [--splits=0,1,2,3,4] [--out=DIR]
  python -m experiments.report DIR

{textwrap.fill("baselines: " + ", ".join(BASELINES), 100, subsequent_indent="  ")}"""


@dataclasses.dataclass(frozen=True)
class Options(RowFlags):
    """The flags of a sweep."""

    tables: tuple[str, ...] = option(
        (), f"tables of the paper: {', '.join(published.TABLES)} [none]"
    )
    figures: tuple[str, ...] = option(
        (), f"figures of the paper: {', '.join(published.FIGURES)} [none]"
    )
    baselines: bool = option(False, "run the baselines, see above")
    export: bool = option(False, "write the SavedModel of every run, with its training images")

    def __post_init__(self) -> None:
        if not (self.tables or self.figures or self.baselines):
            raise InputError("give --tables, --figures or --baselines; received none")
        require_all_of("tables", self.tables, published.TABLES)
        require_all_of("figures", self.figures, published.FIGURES)
        self.check_rows([row.name for row in self.rows])

    @property
    def rows(self) -> list[published.Row]:
        """The rows of the tables, the figures and the baselines, each once."""
        shown: list[published.Table | published.Figure] = [
            published.TABLES[number] for number in self.tables
        ]
        shown += [published.FIGURES[number] for number in self.figures]
        rows = [row for one in shown for row in published.rows_of(one)]
        return list(dict.fromkeys([*rows, *(BASELINE_ROWS if self.baselines else ())]))


def main(options: Options) -> None:
    """Runs the command; ends with status 1 where a run failed."""
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow()
    from experiments.runs import plan
    from experiments.runs.demo_data import demo_data
    from experiments.runs.sweeping import Sweep, announce
    from tagnet.data.dataset import PreparedDataset

    dataset = PreparedDataset(options.data or demo_data(), placement=None)
    common = plan.common_of(options, dataset)
    rows = [row for row in options.rows if not options.only or row.name in options.only]
    splits = plan.splits_of(options, dataset)
    jobs = plan.jobs(rows, splits, common, dataset)
    out = options.out or plan.default_folder(common)
    if (out / "sweep.json").exists():
        plan.settle(out, common)
    sweep = Sweep(out, jobs, dataset, options.export)
    announce(rows, splits, common, sweep)
    if options.dry_run:
        return
    plan.settle(out, common)
    sweep.run()
    console.say()
    sweep.conclude(f"to write tables and figures: python -m experiments.report {sweep.out}")


if __name__ == "__main__":
    console.run(Options, main, USAGE)
