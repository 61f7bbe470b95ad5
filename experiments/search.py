"""Searches the settings of a graph that do best on the validation split.

    python -m experiments.search --arch=ltwin --data=DIR --trials=30

Optuna chooses what is tried next; `--grid` chooses λ alone, over a grid, as the paper did. A
search that was stopped goes on when it is started again, and tries what it would have tried;
several may work in one folder. The test split is never scored.
"""

from experiments.runs.options import SEARCHED, SearchOptions
from tagnet.system import console
from tagnet.system.runtime import import_tensorflow

USAGE = f"""Searches the settings of a graph that do best on the validation split.

  python -m experiments.search --arch=ltwin [--data=DIR] [--splits=0,1] [--trials=30] [--out=DIR]
  python -m experiments.search --arch=ltwin --grid
  tensorboard --logdir=DIR

what can be searched: {", ".join(SEARCHED)}; of v_only, which has no hidden layer: learning_rate, l2
Needs the extra `search`. The test split is never scored."""


def main(options: SearchOptions) -> None:
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
        f"{options.seed}: {', '.join(options.searched)}; {options.wanted} trials x "
        f"{len(search.splits)} splits; into {search.out}"
    )
    if options.dry_run:
        return
    search.make()
    search.conclude()


if __name__ == "__main__":
    console.run(SearchOptions, main, USAGE)
