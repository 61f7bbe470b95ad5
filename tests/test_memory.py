"""Threads where there is memory for them."""

import threading

import pytest

from tagnet import memory


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
