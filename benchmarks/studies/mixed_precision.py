"""Does mixed precision make a step of ltn shorter on this processor, and is it as accurate?

    python -m benchmarks.studies.mixed_precision [--policies=mixed_bfloat16] [--out=runs/mixed]

bfloat16 pays where the processor multiplies it itself (avx512_bf16, amx); the flags that
it has are printed. Elsewhere each product is converted to float32 and back. With `--out`
the demo data set is trained on too, three seeds in each policy; finished runs are not
made again.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import machine, workload
from benchmarks.speed import floor, steps
from benchmarks.studies import demo_runs
from tagnet.system.devices import processor_flags

ARCH = "ltn"
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16")


def main() -> None:
    """Times a step and its products in float32 and in each policy, in alternating rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", default="mixed_bfloat16", help="beside float32")
    parser.add_argument("--out", type=Path, help="where runs on the demo set are kept")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--clock", choices=steps.CLOCKS, default="wall")
    options = parser.parse_args()
    clock = steps.CLOCKS[options.clock]
    sizes = workload.Sizes()
    products = floor.products(ARCH, sizes.graph(ARCH), sizes.batch_size)
    contests, bare = {}, {}
    for policy in ["float32", *options.policies.split(",")]:
        keras.config.set_dtype_policy(policy)
        contests[policy] = steps.Contest(ARCH, "–", sizes)
        contests[policy].fit_ours(1)
        bare[policy] = floor.step(products, tf.as_dtype(keras.config.dtype_policy().compute_dtype))
        bare[policy]()
    step: dict[str, list[float]] = {policy: [] for policy in contests}
    alone: dict[str, list[float]] = {policy: [] for policy in contests}
    for _ in range(options.repeats):
        for policy, contest in contests.items():
            step[policy].append(1e3 * float(np.median(contest.fit_ours(options.steps + 1, clock))))
            alone[policy].append(1e3 * min(steps.seconds(bare[policy], options.steps, clock)))
    for policy in contests:
        ratios = np.array(step["float32"]) / step[policy]
        print(
            f"{policy}: step {np.median(step[policy]):.0f} ms, products alone "
            f"{np.median(alone[policy]):.0f} ms; float32's step takes {np.median(ratios):.2f} "
            f"({ratios.min():.2f}–{ratios.max():.2f}) of that"
        )
    if options.out:
        data = demo_runs.prepared(options.out / "data")
        print(demo_runs.HEADER)
        for policy in contests:
            runs = [
                demo_runs.figures(ARCH, seed, data, options.out / policy, f"--precision={policy}")
                for seed in demo_runs.SEEDS
            ]
            print(demo_runs.row(f"`{ARCH}`, {policy}", runs))
    flags = [flag for flag in FLAGS if flag in processor_flags()]
    print(f"flags: {' '.join(flags)}; {machine.described('tensorflow', 'keras')}")


if __name__ == "__main__":
    main()
