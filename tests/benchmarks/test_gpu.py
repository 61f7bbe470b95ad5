"""The command that measures a GPU, on tiny sizes: it is to work where there is one at last."""

import importlib
from pathlib import Path

import keras
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(monkeypatch):
    """The module; benchmarks are not installed."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.speed.gpu")


def test_every_table_has_its_lines(gpu, capsys):
    gpu.main(["--small", "--cases=v_only,rtn", "--what=steps,loading", "--minutes=1e-9"])
    printed = capsys.readouterr().out
    assert "loading: 0.00 GB to the device in " in printed
    assert "left out after 1e-09 minutes: v_only in float32, rtn in float32, v_only in b" in printed
    gpu.main(["--small", "--cases=v_only", "--what=steps"])
    printed = capsys.readouterr().out
    assert "| `v_only` | – | float32 | " in printed
    assert "| `v_only` | – | bfloat16 | " in printed
    assert "left out" not in printed
    assert printed.endswith("sizes are tiny: these figures only show that the command works\n")
    assert keras.config.dtype_policy().name == "float32"


def test_products_have_matrices_of_their_own(gpu):
    """Otherwise TensorFlow would compute equal ones once."""
    products = [gpu.floor.Product(3, 4, 5, times=3), gpu.floor.Product(3, 4, 5, transpose_a=True)]
    made = gpu.bare(products, tf.float32)()
    assert [tuple(product.shape) for product in made] == [(3, 5)] * 4
    assert len({float(product[0, 0]) for product in made}) == 4


@pytest.mark.large
def test_all_of_it(gpu, capsys):
    gpu.main(["--small"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert len(rows) == 2 * len(gpu.CASES) + len(gpu.SCORED)
