"""Claims: one holder at a time, and none that a dead process keeps."""

import json
import os
import subprocess
import sys
import threading

import pytest

from experiments import claims


@pytest.fixture
def beat(monkeypatch):
    """Heartbeats often enough for a test."""
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)


def holding(directory, machine, pid, age=0.0):
    """Leaves the claim that a process would leave, last touched `age` seconds ago."""
    path = directory / "run.0"
    path.write_text(json.dumps({"machine": machine, "pid": pid}))
    stamp = path.stat().st_mtime - age
    os.utime(path, (stamp, stamp))


def test_one_holder_at_a_time(tmp_path):
    first = claims.claim(tmp_path, "run")
    assert claims.claim(tmp_path, "run") is None
    assert claims.holder(tmp_path, "run") == f"process {os.getpid()} on {claims.machine()}"
    assert claims.claim(tmp_path, "run-2") is not None
    first.release()
    assert claims.holder(tmp_path, "run") is None
    second = claims.claim(tmp_path, "run")
    assert second is not None
    assert second.path != first.path


def test_held_waits_for_the_holder(tmp_path, monkeypatch):
    first = claims.claim(tmp_path, "run")
    monkeypatch.setattr(claims.time, "sleep", lambda _: first.release())
    with claims.held(tmp_path, "run", 1.0) as second:
        assert second.path != first.path
        assert claims.claim(tmp_path, "run") is None
    assert claims.holder(tmp_path, "run") is None


def test_of_many_that_try_at_once_one_succeeds(tmp_path):
    start = threading.Barrier(16)
    held = []

    def attempt():
        start.wait()
        held.append(claims.claim(tmp_path, "run"))

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 16
    assert sum(one is not None for one in held) == 1


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holding(tmp_path, claims.machine(), ended.pid)
    assert claims.claim(tmp_path, "run") is not None


def test_another_machine_holds_until_it_misses_its_heartbeats(tmp_path):
    holding(tmp_path, "elsewhere", os.getpid(), age=claims.STALE - 60)
    assert claims.claim(tmp_path, "run") is None
    holding(tmp_path, "elsewhere", os.getpid(), age=claims.STALE + 60)
    assert claims.claim(tmp_path, "run") is not None


def test_a_living_process_that_hangs_holds_no_longer_than_others(tmp_path):
    holding(tmp_path, claims.machine(), os.getpid(), age=claims.STALE + 60)
    assert claims.claim(tmp_path, "run") is not None


def test_a_file_without_its_content_is_held(tmp_path):
    (tmp_path / "run.0").touch()
    assert claims.claim(tmp_path, "run") is None
    assert claims.holder(tmp_path, "run") == "another process"


def test_a_holder_beats_and_knows_when_it_lost(tmp_path, beat):
    held = claims.claim(tmp_path, "run")
    os.utime(held.path, (0, 0))
    beaten = threading.Event()
    while held.path.stat().st_mtime == 0:
        beaten.wait(0.01)
    assert not held.lost
    # As another would, who found it stale.
    (tmp_path / "run.1").touch()
    assert held.lost
