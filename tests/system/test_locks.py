"""Locks: one holder at a time, and none that a dead process keeps."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.tables import make_table

from data_tools import prepare
from experiments import run
from experiments.runs import options
from tagnet.errors import CannotWrite, InputError
from tagnet.system import console, locks
from tagnet.system.files import write_text
from tagnet.system.locks import LockLost

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def leave(directory, machine, pid, age=0.0):
    """Leaves the file that a process would leave, last touched `age` seconds ago."""
    path = directory / "run.lock"
    who = {"machine": machine, "host": "host", "pid": pid, "since": "2026-01-01 00:00:00+00:00"}
    path.write_text(json.dumps(who))
    stamp = time.time() - age
    os.utime(path, (stamp, stamp))


def take_over(lock):
    """Does what another process does that finds the lock stale."""
    lock.path.unlink()
    other = locks.try_lock(lock.path.parent, lock.path.stem)
    assert other is not None
    return other


def named(pid):
    return rf"process {pid} on \S+ since 20\S+ \S+"


def test_one_holder_at_a_time(tmp_path):
    first = locks.try_lock(tmp_path, "run")
    assert locks.try_lock(tmp_path, "run") is None
    who = rf"process {os.getpid()} on {socket.gethostname()} since 20\S+ \S+"
    assert re.fullmatch(who, locks.holder(tmp_path, "run"))
    assert locks.try_lock(tmp_path, "run-2") is not None
    first.release()
    assert locks.holder(tmp_path, "run") is None
    locks.try_lock(tmp_path, "run").release()
    assert [path.name for path in tmp_path.iterdir()] == ["run-2.lock"]


def test_waiting_for_the_holder(tmp_path, monkeypatch):
    first = locks.try_lock(tmp_path, "run")
    monkeypatch.setattr(locks.time, "sleep", lambda _: first.release())
    with locks.wait_for_lock(tmp_path, "run", 1.0) as second:
        second.check()
        assert locks.try_lock(tmp_path, "run") is None
    assert locks.holder(tmp_path, "run") is None


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_try_at_once_one_succeeds(tmp_path, dead, stale):
    if stale:
        leave(tmp_path, locks.machine(), dead)
    start = threading.Barrier(16)
    held = []

    def attempt():
        start.wait()
        held.append(locks.try_lock(tmp_path, "run"))

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 16
    assert sum(one is not None for one in held) == 1


def test_a_folder_that_comes_and_goes_stops_nobody(tmp_path):
    directory = tmp_path / "locks"  # goes with the last lock in it
    alone = threading.Lock()
    faults, taken = [], []

    def take_turns():
        for _ in range(300):
            try:
                held = locks.try_lock(directory, "run")
                if held is None:
                    continue
                if not alone.acquire(blocking=False):
                    faults.append("two hold it")
                else:
                    taken.append(held)
                    alone.release()
                held.release()
            except OSError as error:
                faults.append(repr(error))

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert taken and not directory.exists()


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path, dead):
    leave(tmp_path, locks.machine(), dead)
    assert locks.holder(tmp_path, "run") is None
    assert locks.try_lock(tmp_path, "run") is not None


@pytest.mark.parametrize("machine", ["elsewhere", locks.machine()])
def test_who_misses_his_heartbeats_holds_nothing(tmp_path, machine):
    leave(tmp_path, machine, os.getpid(), age=locks.STALE - 60)
    assert locks.try_lock(tmp_path, "run") is None
    leave(tmp_path, machine, os.getpid(), age=locks.STALE + 60)
    assert locks.try_lock(tmp_path, "run") is not None


def test_a_file_without_its_content_is_held(tmp_path):
    (tmp_path / "run.lock").touch()
    assert locks.try_lock(tmp_path, "run") is None
    assert locks.holder(tmp_path, "run") == "another process"


def test_a_heartbeat_touches_the_file_until_another_took_over(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT", 0.01)
    lock = locks.try_lock(tmp_path, "run")
    os.utime(lock.path, (0, 0))
    while lock.path.stat().st_mtime == 0:
        time.sleep(0.01)
    leave(tmp_path, "elsewhere", 1, age=60)
    lock._heart.join(10)
    assert not lock._heart.is_alive()
    assert lock.path.stat().st_mtime < time.time() - 30
    lock.release()
    assert lock.path.exists()  # it is the other's


def test_who_lost_his_lock_is_refused_his_next_write(tmp_path):
    file = tmp_path / "result"
    with locks.exclusive(tmp_path, "run") as lock:
        write_text(file, "before", lock.check)
        other = take_over(lock)
        line = r"run.lock: lock lost: .* more than 10 minutes, or the file was removed"
        with pytest.raises(LockLost, match=line):
            write_text(file, "after", lock.check)
    assert file.read_text() == "before"
    other.check()
    other.release()
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(LockLost):
        other.check()


def test_a_directory_is_used_by_one(tmp_path):
    out = tmp_path / "out"
    line = rf"out: is in use by {named(os.getpid())}; wait for it or stop it"
    with locks.exclusive(out, "run"):
        with pytest.raises(InputError, match=line), locks.exclusive(out, "run"):
            pass
        with locks.exclusive(out, "something else"):
            pass
        assert (out / locks.LOCKS).is_dir()
    assert not out.exists()
    with locks.exclusive(out, "run"):
        (out / "artefact").touch()
    assert [path.name for path in out.iterdir()] == ["artefact"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=r"cannot be written \(Not a dir"):
        with locks.exclusive(tmp_path / "file" / "out", "run"):
            pass


@pytest.mark.parametrize("work", ["run", "prepare"])
def test_two_at_once_are_one_line(work, prepared, tmp_path, capsys):
    out = tmp_path / "out"
    if work == "run":
        argv = ["run", "--arch=v_only", f"--data={prepared}", f"--out={out}"]
        command = options.Options, run.main, run.USAGE
    else:
        table = make_table(tmp_path / "raw")
        argv = ["prepare", f"--raw={table.raw}", f"--features={table.features}", f"--out={out}"]
        command = prepare.Options, prepare.main, ""
    with locks.exclusive(out, work):
        assert console.execute(*command, argv) == 2
    errors = capsys.readouterr().err
    assert re.fullmatch(rf"error: {out}: is in use by {named(os.getpid())}; .*\n", errors)
    assert not out.exists()


@pytest.mark.large
def test_a_run_is_refused_while_another_goes_on_and_ends_once_it_lost_its_lock(prepared, tmp_path):
    flags = [f"--data={prepared}", "--arch=v_only", "--max_epochs=40"]
    command = [sys.executable, "-m", "experiments.run", *flags]
    out = tmp_path / "out"
    pipe = subprocess.PIPE
    first = subprocess.Popen(
        [*command, f"--out={out}"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=pipe, text=True
    )
    while not (out / "checkpoints" / "last.npz").exists():
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    assert (out / locks.LOCKS).exists(), "the first was over before it was stopped"
    second = subprocess.run([*command, f"--out={out}"], cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 2
    who = named(first.pid)
    last = second.stderr.splitlines()[-1]
    assert re.fullmatch(rf"error: {out}: is in use by {who}; .*", last)
    os.utime(out / locks.LOCKS / "run.lock", (0, 0))  # as if it had been stopped for long
    argv = ["run", *flags, f"--out={out}"]
    assert console.execute(options.Options, run.main, run.USAGE, argv) == 0
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 2
    assert re.fullmatch(r"error: .*run\.lock: lock lost: .*", errors.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")} == made
    argv = ["run", *flags, f"--out={tmp_path / 'alone'}"]
    assert console.execute(options.Options, run.main, run.USAGE, argv) == 0
    for name in ("predictions.npz", "checkpoints/last.npz"):
        with np.load(out / name) as ours, np.load(tmp_path / "alone" / name) as alone:
            assert set(ours.files) == set(alone.files)
            for array in set(ours.files) - {"history"}:  # which has the seconds
                np.testing.assert_array_equal(ours[array], alone[array])
