"""Searches for the hyper-parameters that do best on the validation split.

    python -m experiments.search --arch=ltwin --data=DIR --trials=30

Optuna chooses the trials; `--grid` searches only λ, over a grid, as the paper did. An interrupted
search resumes with the same trials when it is started again; several processes can share a folder.
The test split is never scored.
"""

from experiments.runs.options import GRID, SEARCHED
from experiments.runs.options import SearchOptions as Options
from tagnet.models.architectures import ARCHITECTURES
from tagnet.system import console
from tagnet.system.runtime import import_tensorflow

USAGE = f"""Searches for the hyper-parameters that do best on the validation split.

  python -m experiments.search --arch=ltwin [--data=DIR] [--splits=0,1] [--trials=30] [--out=DIR]
  python -m experiments.search --arch=ltwin --grid
  tensorboard --logdir=DIR

architectures: {", ".join(ARCHITECTURES)}
hyper-parameters: {", ".join(SEARCHED)} (v_only: learning_rate, l2)
--grid: l2 in {", ".join(f"{value:g}" for value in GRID)}
Requires the extra `search`. The test split is never scored."""


def main(options: Options) -> None:
    """Runs the command."""
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow()
    from experiments.runs.demo_data import demo_data
    from experiments.runs.searching import Search, require_optuna
    from tagnet.data.dataset import PreparedDataset

    require_optuna()
    dataset = PreparedDataset(options.data or demo_data(), placement=None)
    search = Search(options, dataset)
    console.say(
        f"{dataset.name}, {options.arch}, preset {search.base.preset}, pool {options.pool}, seed "
        f"{options.seed}: {', '.join(options.searched)}; "
        f"{console.counted(options.num_trials, 'trial')} x "
        f"{console.counted(len(search.splits), 'split')}; into {search.out}"
    )
    if options.dry_run:
        return
    search.make()
    search.conclude()


if __name__ == "__main__":
    console.run(Options, main, USAGE)
