"""Steps, scores, loading and features on a GPU, in one table; ten minutes on a bare machine.

    python -m benchmarks.speed.gpu [--minutes=10] [--cases=ltn,ltwin-id] [--what=steps,scoring]

steps     a training step of each architecture, compiled by XLA and not, in plain Keras (naive.py),
          and the bare matrix products of it (floor.py); in float32, in TF32 and in bfloat16
scoring   images a second, by LSTMs compiled in one piece and not, and in plain Keras
loading   features from the memory of the machine to the device
features  photographs a second through EfficientNet-Lite0

Sizes are the paper's, images are random (workload.py). What does not fit into the minutes is left
out, and said; a case is not interrupted. Without a GPU, or with --small, everything is tiny, which
only shows that the command works; --full takes the paper's sizes on a processor too.
"""

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks import machine, naive, workload
from benchmarks.speed import features, floor, steps
from benchmarks.speed.scoring import first
from tagnet.backbones.features import backbone_of
from tagnet.data.tables import RowLookup, lookup_tables
from tagnet.evaluation.scoring import Scorer, draw_subsets
from tagnet.models.architectures import build
from tagnet.settings import ScoringSettings
from tagnet.system import devices

CASES = (
    "v_only", "ltn", "ltwin-id", "ltwin-w2v", "rtn", "ltn_allvecs-id", "ltwin_rnn-w2v",
    "ltwin_2rnn-id", "lzip-w2v", "ltn_vecs-id",
)  # fmt: skip
SCORED = ("ltwin-id", "rtn", "lzip-w2v")
WHAT = ("steps", "scoring", "loading", "features")
ARITHMETIC = {"float32": "float32", "TF32": "float32", "bfloat16": "mixed_bfloat16"}
SMALL = workload.Sizes(
    images=200, feature_dim=16, hidden=8, num_labels=5, num_tags=30, tags_per_image=4,
    vector_dim=6, m=3, max_rank=6, batch_size=8,
)  # fmt: skip
SAMPLES = 10  # neighbourhoods of an image where they are drawn


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes until all devices are done."""
    begun = time.perf_counter()
    work()
    tf.test.experimental.sync_devices()
    return time.perf_counter() - begun


def each(work: Callable[[int], object], count: int) -> float:
    """The milliseconds of one of `count` steps, without what comes before the first one.

    Args:
        work: makes that many steps.
        count: how many.
    """
    return 1e3 * (seconds(lambda: work(2 * count)) - seconds(lambda: work(count))) / count


def bare(products: Sequence[floor.Product], dtype: tf.DType) -> Callable[[], object]:
    """A graph of the matrix products alone; every one has matrices of its own."""

    def stored(rows: int, columns: int, transposed: bool) -> tf.Tensor:
        shape = [columns, rows] if transposed else [rows, columns]
        return tf.cast(tf.random.normal(shape), dtype)

    pairs = [
        (p, stored(p.rows, p.inner, p.transpose_a), stored(p.inner, p.columns, p.transpose_b))
        for p in products
        for _ in range(p.times)
    ]
    return tf.function(lambda: [tf.matmul(a, b, p.transpose_a, p.transpose_b) for p, a, b in pairs])


def peak_gigabytes() -> float:
    """The most memory of the first GPU that was in use since it was last asked; 0 without one."""
    if not devices.gpus():
        return 0.0
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


def step_row(case: str, arithmetic: str, sizes: workload.Sizes, count: int) -> str:
    """A line of the table of steps."""
    arch, _, feed = case.partition("-")
    keras.config.set_dtype_policy(ARITHMETIC[arithmetic])
    tf.config.experimental.enable_tensor_float_32_execution(arithmetic == "TF32")
    peak_gigabytes()
    times, compiling = {}, 0.0
    for by_xla in (True, False):
        contest = steps.Contest(arch, feed, sizes, by_xla=by_xla)
        began = seconds(functools.partial(contest.fit_ours, 1))
        compiling = began if by_xla else compiling
        times[by_xla] = each(contest.fit_ours, count)
    peak = peak_gigabytes()
    contest.fit_plain(1)
    plain = each(contest.fit_plain, count)
    of = floor.products(arch, sizes.graph(arch, feed), sizes.batch_size)
    products = bare(of, tf.as_dtype(keras.config.dtype_policy().compute_dtype))
    products()
    least = each(lambda runs: [products() for _ in range(runs)], count)
    cells = [f"`{arch}`", feed or "–", arithmetic]
    cells += [f"{ms:.2f}" for ms in (times[True], times[False], plain, least)]
    cells += [f"{plain / times[True]:.2f}", f"{compiling:.1f}", f"{peak:.2f}"]
    return f"| {' | '.join(cells)} |"


STEPS_HEADER = (
    "| graph | feed | arithmetic | compiled, ms | not compiled, ms | plain Keras, ms "
    "| products, ms | plain / compiled | first step, s | peak, GB |\n" + "|---" * 10 + "|"
)


def scoring_row(case: str, sizes: workload.Sizes, images: int) -> str:
    """A line of the table of scores: images a second."""
    arch, _, feed = case.partition("-")
    keras.utils.set_random_seed(0)
    data, settings = workload.make(sizes, feed), sizes.graph(arch, feed)
    core, plain = build(arch, settings), naive.build(arch, settings)
    naive.copy_weights(core, plain)
    part = first(data.part, images)
    scoring = ScoringSettings(sizes.m, samples=SAMPLES)
    lookups = lookup_tables(data.tables)
    ways: list[Callable[[], object]] = [
        functools.partial(Scorer(core, lookups, scoring, by_xla), part) for by_xla in (True, False)
    ]
    drawn = draw_subsets(images, sizes.max_rank, sizes.m, SAMPLES, seed=0)
    chosen = np.take_along_axis(part.neighbours[:, None], drawn, axis=2)
    packer = naive.Packer(data.tables)
    ways.append(lambda: naive.score(plain, packer, part.rows, chosen))
    for way in ways:  # which compiles
        way()
    speeds = [images / seconds(way) for way in ways]
    return f"| `{arch}` | {feed or '–'} | {' | '.join(f'{speed:,.0f}' for speed in speeds)} |"


def loading_lines(sizes: workload.Sizes) -> Iterator[str]:
    """How fast a table of features gets to the device."""
    table = np.ones([10 * sizes.images, sizes.feature_dim], np.float16)
    taken = min(seconds(lambda: RowLookup(table)) for _ in range(3))
    yield f"loading: {table.nbytes / 1e9:.2f} GB to the device in {taken:.3f} s"


def features_lines(images: int) -> Iterator[str]:
    """How many photographs a second become features."""
    photos = sorted(features.EXAMPLES.rglob("*.jpg"))
    some = list(itertools.islice(itertools.cycle(photos), images))
    for what, speeds in features.measured(backbone_of("efficientnet_lite0"), some, 1).items():
        yield f"features, {what}: {speeds[0]:.1f} photographs/s"


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The lines of the answer, as they are found."""
    small = options.small or not (options.full or devices.gpus())
    sizes, count, images = (SMALL, 2, 16) if small else (workload.Sizes(), 50, 2048)
    end = time.perf_counter() + 60 * options.minutes
    left_out = []
    if "loading" in options.what:
        yield from loading_lines(sizes)
    if "features" in options.what:
        yield from features_lines(4 if small else 512)
    if "scoring" in options.what:
        yield (
            "\n| graph | feed | compiled, images/s | not compiled | plain Keras |\n"
            + "|---" * 5
            + "|"
        )
        for case in (case for case in SCORED if case in options.cases):
            yield scoring_row(case, sizes, images)
    if "steps" in options.what:
        yield f"\n{STEPS_HEADER}"
        # TF32 is of GPUs alone.
        kinds = [kind for kind in ARITHMETIC if kind != "TF32" or devices.gpus()]
        for kind, case in itertools.product(kinds, options.cases):
            if time.perf_counter() < end:
                yield step_row(case, kind, sizes, count)
                keras.backend.clear_session()
            else:
                left_out.append(f"{case} in {kind}")
    if left_out:
        yield f"\nleft out after {options.minutes} minutes: {', '.join(left_out)}"
    yield f"\non {devices.described()}; {machine.described('tensorflow', 'keras', 'numpy')}"
    if small:
        yield "sizes are tiny: these figures only show that the command works"


def main(argv: Sequence[str]) -> None:
    """Measures what is asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10, help="begin no case after these")
    parser.add_argument("--cases", default=",".join(CASES), help="ARCH, or ARCH-FEED")
    parser.add_argument("--what", default=",".join(WHAT), help="what to measure")
    parser.add_argument("--small", action="store_true", help="tiny sizes; also without a GPU")
    parser.add_argument("--full", action="store_true", help="the paper's sizes without a GPU too")
    options = parser.parse_args(argv)
    options.cases, options.what = options.cases.split(","), options.what.split(",")
    devices.grow_memory()  # as in a run
    policy = keras.config.dtype_policy()
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        for line in lines(options):
            print(line, flush=True)
    finally:
        keras.config.set_dtype_policy(policy)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)


if __name__ == "__main__":
    main(sys.argv[1:])
