"""The command that measures a GPU, on tiny sizes: it is to work where there is one at last."""

import importlib

import pytest
import tensorflow as tf

from tagnet.models.plain import plain_keras


@pytest.fixture
def gpu():
    """The module."""
    return importlib.import_module("benchmarks.speed.gpu")


def test_a_row_of_steps(gpu):
    with plain_keras():  # which puts the policy back
        row = gpu.step_row("v_only", "bfloat16", gpu.SMALL, count=1)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[1:4] == ["`v_only`", "–", "bfloat16"]
    assert len(cells) == gpu.STEPS_HEADER.splitlines()[0].count("|") + 1


def test_what_is_left_out_is_told(gpu, capsys):
    gpu.main(["--small", "--cases=v_only,rtn", "--what=steps,loading", "--minutes=0"])
    printed = capsys.readouterr().out
    assert "loading: 0.00 GB to the device in " in printed
    assert "left out after 0.0 minutes: v_only in float32, rtn in float32, v_only in b" in printed
    assert printed.endswith("sizes are tiny: these figures only show that the command works\n")


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
