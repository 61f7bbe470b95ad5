"""The devices that TensorFlow computes on: their names, and what they can do."""

import contextlib
import os
import platform
from pathlib import Path

PROCESSORS = Path("/proc/cpuinfo")  # Linux alone has it
MULTIPLY_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # flags of processors that do so themselves
AMPERE = (8, 0)  # the first compute capability of GPUs that multiply bfloat16
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"  # TensorFlow's own variable for what `grow_memory` does


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow sees, as NVIDIA calls them."""
    return [details.get("device_name", "GPU") for details in _details()]


def grow_memory() -> None:
    """Has TensorFlow take memory of a GPU as it needs it, not all of it at once.

    To be called before anything is computed. Nothing is changed if the environment variable
    TF_FORCE_GPU_ALLOW_GROWTH is set, which TensorFlow itself reads.
    """
    import tensorflow as tf

    if GROWTH in os.environ:
        return
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # another part of the process has used it already
            tf.config.experimental.set_memory_growth(gpu, True)


def make_deterministic() -> None:
    """Has TensorFlow take kernels that give the same numbers every time; before anything runs."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def described() -> str:
    """What is computed on, for the line at the start of a run.

    The GPUs by their names, or the processor and how many of its cores this process may use.
    """
    if names := gpus():
        return ", ".join(f"GPU {number} ({name})" for number, name in enumerate(names))
    cores = f"{_cores()} cores" if _cores() != 1 else "1 core"
    return f"the processor ({_processor()}, {cores}); TensorFlow sees no GPU"


def multiplies_bfloat16() -> bool:
    """Whether all GPUs, or without a GPU the processor, multiply bfloat16 themselves.

    Elsewhere it is emulated, and slower than float32. Of processors only Linux tells.
    """
    if details := _details():
        return all(tuple(gpu.get("compute_capability", (0, 0))) >= AMPERE for gpu in details)
    return not MULTIPLY_BFLOAT16.isdisjoint(processor_flags())


def processor_flags() -> set[str]:
    """The instruction sets of the processor as Linux names them; none elsewhere."""
    return set(_information().get("flags", "").split())


def _details() -> list[dict]:
    """What TensorFlow tells of each GPU."""
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu) for gpu in found]


def _information() -> dict[str, str]:
    """What Linux tells of the first processor."""
    try:
        first = PROCESSORS.read_text().split("\n\n")[0]
    except OSError:
        return {}
    return {
        name.strip(): value.strip()
        for name, colon, value in (line.partition(":") for line in first.splitlines())
    }


def _processor() -> str:
    return _information().get("model name") or platform.processor() or platform.machine()


def _cores() -> int:
    """How many cores this process may use, as far as the system tells."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
