"""Threads where there is memory for them."""

import sys
import threading

import pytest
from processes import limited

from tagnet.system import memory


@pytest.mark.parametrize(
    ("left", "apart"), [(None, True), (2**50, True), (2**31, False), (0, False)]
)
def test_work_is_shared_out_where_memory_is_not_scarce(monkeypatch, left, apart):
    monkeypatch.setattr(memory, "address_space_left", lambda: left)
    with memory.pool(2) as threads:
        found = list(threads.map(lambda n: (2 * n, threading.current_thread()), range(5)))
    assert [number for number, _ in found] == [0, 2, 4, 6, 8]
    assert all((thread is not threading.main_thread()) == apart for _, thread in found)


@pytest.mark.parametrize("left", [None, 0])
def test_an_error_comes_where_its_result_would(monkeypatch, left):
    monkeypatch.setattr(memory, "address_space_left", lambda: left)
    with memory.pool(2) as threads:
        done = [threads.submit(lambda n: 1 // n, number) for number in (1, 0)]
        assert done[0].result() == 1
        with pytest.raises(ZeroDivisionError):
            done[1].result()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
def test_what_is_reserved_can_be_used_afterwards():
    program = (
        "taken = []\n"
        "def take():\n"
        "    while True:\n"
        "        taken.append(bytearray(2**20))\n"
        "try:\n"
        "    with memory.reserved():\n"
        "        take()\n"
        "except MemoryError:\n"
        "    before = len(taken)\n"
        "try:\n"
        "    take()\n"
        "except MemoryError:\n"
        "    print(before, len(taken) - before)\n"
    )
    ended = limited(32, "from tagnet import memory", program)
    assert ended.returncode == 0, ended.stderr
    before, afterwards = map(int, ended.stdout.split())
    assert before > 0
    assert afterwards >= 6  # of the 8 MB
