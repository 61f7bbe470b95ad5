"""What a machine computes on, and whether it multiplies bfloat16."""

import pytest
import tensorflow as tf

from tagnet.system import devices

CPUINFO = """processor\t: 0
model name\t: Some Processor @ 2 GHz
flags\t\t: fpu avx512f{more}

processor\t: 1
model name\t: Another
flags\t\t: amx_bf16
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets up a machine: flags of its processor, compute capabilities of its GPUs."""

    def set_up(more="", capabilities=()):
        (tmp_path / "cpuinfo").write_text(CPUINFO.format(more=more))
        monkeypatch.setattr(devices, "PROCESSORS", tmp_path / "cpuinfo")
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind: [*range(len(capabilities))]
        )
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda gpu: {"device_name": f"Card {gpu}", "compute_capability": capabilities[gpu]},
        )

    return set_up


def test_a_processor_is_named(machine):
    machine()
    assert devices.described().startswith("the processor (Some Processor @ 2 GHz, ")
    assert devices.described().endswith("); TensorFlow sees no GPU")


def test_gpus_are_named(machine):
    machine(capabilities=[(8, 9), (7, 5)])
    assert devices.described() == "GPU 0 (Card 0), GPU 1 (Card 1)"
    assert devices.gpus() == ["Card 0", "Card 1"]


def test_a_system_that_tells_nothing_of_its_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "PROCESSORS", tmp_path / "none")
    assert devices.processor_flags() == set()
    assert devices.described().startswith("the processor (")


@pytest.mark.parametrize(
    ("more", "capabilities", "expected"),
    [
        ("", [], False),
        (" avx512_bf16", [], True),
        (" amx_bf16", [], True),
        (" avx512_bf16", [(7, 5)], False),  # the GPU counts, not the processor
        ("", [(8, 0), (9, 0)], True),
        ("", [(8, 0), (7, 5)], False),
    ],
)
def test_who_multiplies_bfloat16(machine, more, capabilities, expected):
    machine(more, capabilities)
    assert devices.multiplies_bfloat16() == expected


@pytest.mark.parametrize(("set_by_user", "grown"), [(None, [0, 1]), ("false", [])])
def test_memory_of_a_gpu_is_taken_as_needed_unless_a_user_decides(
    machine, monkeypatch, set_by_user, grown
):
    machine(capabilities=[(8, 0), (8, 0)])
    monkeypatch.delenv(devices.GROWTH, raising=False)
    if set_by_user is not None:
        monkeypatch.setenv(devices.GROWTH, set_by_user)
    seen = []
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: seen.append(gpu)
    )
    devices.grow_memory()
    assert seen == grown


def test_a_gpu_that_is_in_use_keeps_its_memory(machine, monkeypatch):
    machine(capabilities=[(8, 0)])
    monkeypatch.delenv(devices.GROWTH, raising=False)

    def in_use(gpu, on):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", in_use)
    devices.grow_memory()
