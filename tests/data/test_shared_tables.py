"""The runs of a sweep share one table of features."""

import gc
from pathlib import Path

import pytest
import tensorflow as tf

from experiments import sweep
from tagnet.data.dataset import PreparedDataset
from tagnet.system import console


def tables_alive(data: Path) -> int:
    """How many tensors of the shape of the data set's features there are."""
    dataset = PreparedDataset(data)
    shape = (dataset.num_images, dataset.feature_dim)
    gc.collect()
    # Symbolic tensors have a shape, but no memory behind it.
    tensors = [o for o in gc.get_objects() if isinstance(o, tf.Tensor) and hasattr(o, "numpy")]
    return sum(tensor.shape.rank == 2 and tuple(tensor.shape) == shape for tensor in tensors)


@pytest.mark.large
def test_several_runs_leave_one_table_of_features(prepared: Path, tmp_path: Path) -> None:
    before = tables_alive(prepared)
    flags = [f"--data={prepared}", f"--out={tmp_path}", "--tables=2", "--only=ltn-n_id-m12-M24"]
    flags += ["--hidden=4", "--max_epochs=1"]
    argv = ["sweep", *flags]
    assert console.execute(sweep.Options, sweep.main, sweep.USAGE, argv) == 0
    assert tables_alive(prepared) - before <= 1
