"""Plots accuracy under changed tags, neighbours and vocabulary.

    python -m experiments.robustness --curve=vocabulary --data=DIR --splits=0,1,2

Makes the runs that are missing, scores each under every condition of the curve, and writes a
figure and a table. Runs are kept and shared as a sweep's are, those that are trained as usual
with a sweep in the same folder; what is trained otherwise stands in `altered/`, and what came
out under a condition in `conditions/` of the run.
"""

import dataclasses

from experiments.paper.curves import CURVES, rows_of
from experiments.runs.options import RowFlags
from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import option, require_all_of
from tagnet.system.files import remove_leftovers
from tagnet.system.runtime import import_tensorflow

USAGE = f"""Plots accuracy under changed tags, neighbours and vocabulary.

  python -m experiments.robustness --curve=vocabulary [--data=DIR] [--splits=0,1,2] [--out=DIR]

curves: {", ".join(CURVES)}"""


@dataclasses.dataclass(frozen=True)
class Options(RowFlags):
    """The flags of the command."""

    curve: tuple[str, ...] = option((), "curves to plot, see above (required)")

    def __post_init__(self) -> None:
        if not self.curve:
            raise InputError(f"--curve must be one of {', '.join(CURVES)}; received none")
        require_all_of("curve", self.curve, CURVES)
        self.check_rows([row.name for row in rows_of(self.curve)])


def main(options: Options) -> None:
    """Runs the command; ends with status 1 where a run failed."""
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow()
    from experiments.paper.study import Study, lacking, results_of, trainings
    from experiments.reports import curve_report
    from experiments.runs import plan
    from experiments.runs.demo_data import demo_data
    from tagnet.data.dataset import PreparedDataset

    dataset = PreparedDataset(options.data or demo_data(), placement=None)
    common = plan.common_of(options, dataset)
    splits = plan.splits_of(options, dataset)
    out = options.out or plan.default_folder(common)
    curves = {name: CURVES[name] for name in options.curve}
    rows = [row for row in rows_of(curves) if not options.only or row.name in options.only]
    reasons = {row: reason for row in rows if (reason := lacking(row, common))}
    served = [row for row in rows if row not in reasons]
    jobs = trainings(curves.values(), served, splits, common, dataset)
    if (out / "sweep.json").exists():
        plan.settle(out, common)
    study = Study(out, jobs, dataset)
    tests = sum(len(job.tests) for job in jobs)
    console.say(
        f"{common.dataset}, preset {common.preset}, pool {common.pool}, seed {common.seed}: "
        f"{', '.join(curves)}: {console.counted(len(jobs), 'run')}, "
        f"{console.counted(tests, 'condition')}; "
        f"{len(study.left)} still to run or score; into {out}"
    )
    for row, reason in reasons.items():
        console.say(f"  {row.name}: skipped, {reason}")
    if options.dry_run:
        return
    plan.settle(out, common)
    study.run()
    console.say()
    remove_leftovers(out / "curves")
    for name, curve in curves.items():
        curve_report.write(out / "curves", name, curve, results_of(study, curve, common.pool))
    study.conclude(f"figures and tables: {out / 'curves'}")


if __name__ == "__main__":
    console.run(Options, main, USAGE)
