"""Claims: one holder at a time, and none that a dead process keeps."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_table

from data_tools import prepare
from experiments import run
from experiments.runs import options
from tagnet.errors import InputError
from tagnet.system import console, locks
from tagnet.system import locks as claims

ROOT = Path(__file__).parent.parent


@pytest.fixture
def beat(monkeypatch):
    """Heartbeats often enough for a test."""
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)


def holding(directory, machine, pid, age=0.0):
    """Leaves the claim that a process would leave, last touched `age` seconds ago."""
    path = directory / "run.0"
    who = {"machine": machine, "host": "host", "pid": pid, "since": "2026-01-01 00:00:00+00:00"}
    path.write_text(json.dumps(who))
    stamp = path.stat().st_mtime - age
    os.utime(path, (stamp, stamp))


def test_one_holder_at_a_time(tmp_path):
    first = locks.claim(tmp_path, "run")
    assert locks.claim(tmp_path, "run") is None
    named = rf"process {os.getpid()} on {socket.gethostname()} \(since 20\S+ \S+\)"
    assert re.fullmatch(named, locks.holder(tmp_path, "run"))
    assert locks.claim(tmp_path, "run-2") is not None
    first.release()
    assert locks.holder(tmp_path, "run") is None
    second = locks.claim(tmp_path, "run")
    assert second is not None
    second.release()
    assert [path.name for path in tmp_path.iterdir()] == ["run-2.0"]


def test_waiting_for_the_holder(tmp_path, monkeypatch):
    first = locks.claim(tmp_path, "run")
    monkeypatch.setattr(locks.time, "sleep", lambda _: first.release())
    with locks.waited_for(tmp_path, "run", 1.0) as second:
        assert second.path.exists() and not second.lost
        assert locks.claim(tmp_path, "run") is None
    assert locks.holder(tmp_path, "run") is None


def test_of_many_that_try_at_once_one_succeeds(tmp_path):
    start = threading.Barrier(16)
    held = []

    def attempt():
        start.wait()
        held.append(locks.claim(tmp_path, "run"))

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 16
    assert sum(one is not None for one in held) == 1


def test_a_folder_that_comes_and_goes_stops_nobody(tmp_path):
    directory = tmp_path / "claims"  # goes with the last claim in it
    alone = threading.Lock()
    faults, taken = [], []

    def take_turns():
        for _ in range(300):
            try:
                held = locks.claim(directory, "run")
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


def test_who_lets_go_while_it_is_asked_who_he_is(tmp_path, monkeypatch):
    first = locks.claim(tmp_path, "run")
    is_free = locks._is_free

    def released(path):
        found = is_free(path)
        first.release()
        return found

    monkeypatch.setattr(claims, "_is_free", released)
    assert locks.holder(tmp_path, "run") == "another process"


def test_a_folder_that_goes_with_the_last_claim(tmp_path, monkeypatch):
    """Another removed it between this one's look at it and its leave."""
    directory = tmp_path / "claims"
    held = locks.claim(directory, "run")
    listed = os.listdir

    def gone(folder):
        names = listed(folder)
        shutil.rmtree(folder)
        return [*names, f"{locks.PROBE}1-1"]

    monkeypatch.setattr(locks.os, "listdir", gone)
    held.release()
    assert not directory.exists()


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holding(tmp_path, locks.machine(), ended.pid)
    assert locks.claim(tmp_path, "run") is not None


def test_what_the_dead_left_is_cleared(tmp_path):
    directory = tmp_path / "claims"
    held = locks.claim(directory, "other")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holding(directory, locks.machine(), ended.pid)
    (directory / f"{locks.PROBE}1-1").touch()  # it was killed while it looked at the time
    locks.clear(directory)
    assert [path.name for path in directory.iterdir()] == ["other.0"]
    held.release()
    locks.clear(directory)
    assert not directory.exists()


def test_who_leaves_does_not_disturb_one_who_looks_at_the_time(tmp_path, monkeypatch):
    """Removed under him, the file by which he sees the time is made again."""
    holding(tmp_path, "another machine", 1)
    touch, removed = Path.touch, []

    def disturbed(path):
        touch(path)
        if not removed:
            removed.append(path)
            path.unlink()

    monkeypatch.setattr(Path, "touch", disturbed)
    assert locks.claim(tmp_path, "run") is None
    assert removed and [path.name for path in tmp_path.iterdir()] == ["run.0"]


def test_another_machine_holds_until_it_misses_its_heartbeats(tmp_path):
    holding(tmp_path, "elsewhere", os.getpid(), age=locks.STALE - 60)
    assert locks.claim(tmp_path, "run") is None
    holding(tmp_path, "elsewhere", os.getpid(), age=locks.STALE + 60)
    assert locks.claim(tmp_path, "run") is not None


def test_a_living_process_that_hangs_holds_no_longer_than_others(tmp_path):
    holding(tmp_path, locks.machine(), os.getpid(), age=locks.STALE + 60)
    assert locks.claim(tmp_path, "run") is not None


def test_a_file_without_its_content_is_held(tmp_path):
    (tmp_path / "run.0").touch()
    assert locks.claim(tmp_path, "run") is None
    assert locks.holder(tmp_path, "run") == "another process"


def test_a_holder_beats_and_knows_when_it_lost(tmp_path, beat):
    held = locks.claim(tmp_path, "run")
    os.utime(held.path, (0, 0))
    beaten = threading.Event()
    while held.path.stat().st_mtime == 0:
        beaten.wait(0.01)
    assert not held.lost
    # As another would, who found it stale.
    (tmp_path / "run.1").touch()
    assert held.lost


def named(pid):
    return rf"process {pid} on \S+ \(since 20\S+ \S+\)"


def test_a_directory_is_held_by_one(tmp_path):
    out = tmp_path / "out"
    line = rf"out: {named(os.getpid())} is at work in it; wait until it has ended, or stop it"
    with locks.held(out, "run"):
        with pytest.raises(InputError, match=line), locks.held(out, "run"):
            pass
        with locks.held(out, "something else"):
            pass
        assert (out / locks.CLAIMS).is_dir()
    assert not out.exists()
    with locks.held(out, "run"):
        (out / "artefact").touch()
    assert [path.name for path in out.iterdir()] == ["artefact"]


def test_what_a_dead_process_held_is_taken_over(tmp_path):
    hold = "import os, sys; from tagnet import claims; from pathlib import Path\n"
    hold += "with locks.held(Path(sys.argv[1]), 'run'): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", hold, str(tmp_path)], cwd=ROOT)
    assert [path.name for path in (tmp_path / locks.CLAIMS).iterdir()] == ["run.0"]
    with locks.held(tmp_path, "run"):
        assert [path.name for path in (tmp_path / locks.CLAIMS).iterdir()] == ["run.1"]
    assert list(tmp_path.iterdir()) == []


def test_a_claim_made_meanwhile_is_given_way_to(tmp_path, monkeypatch):
    """A process looked while there was none, and made its file when another held a later one."""
    (tmp_path / "run.9").write_text("")
    looks = iter([[], [tmp_path / "run.0", tmp_path / "run.9"]])
    monkeypatch.setattr(claims, "_all", lambda directory, name: next(looks))
    assert locks.claim(tmp_path, "run") is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.9"]


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_work_that_another_took_over_ends(tmp_path, beat, handler):
    """Also where Ctrl-C is ignored, as in what a shell starts in the background."""
    line = "stood still for more than 10 minutes, and another has taken over"
    earlier = signal.signal(signal.SIGINT, handler), signal.getsignal(locks.LOSS)
    with pytest.raises(InputError, match=line), locks.held(tmp_path, "run"):
        # As another would, who found it stale.
        (tmp_path / locks.CLAIMS / "run.1").touch()
        (tmp_path / locks.CLAIMS / "run.0").unlink()
        for _ in range(1000):  # the interruption comes between two of these
            time.sleep(0.01)
    assert [path.name for path in (tmp_path / locks.CLAIMS).iterdir()] == ["run.1"]
    assert signal.getsignal(locks.LOSS) is earlier[1]
    signal.signal(signal.SIGINT, earlier[0])


def test_an_interrupted_holder_is_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt), locks.held(tmp_path, "run"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written \(Not a dir"):
        with locks.held(tmp_path / "file" / "out", "run"):
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
        command = prepare.OPTIONS, prepare.main, ""
    with locks.held(out, work):
        assert console.execute(*command, argv) == 2
    errors = capsys.readouterr().err
    assert re.fullmatch(rf"error: {out}: {named(os.getpid())} is at work in it; .*\n", errors)
    assert not out.exists()


def test_a_second_run_is_refused_while_the_first_goes_on(prepared, tmp_path):
    flags = [f"--data={prepared}", "--arch=v_only", "--preset=demo", "--max_epochs=40"]
    command = [sys.executable, "-m", "experiments.run", *flags]
    out = tmp_path / "out"
    first = subprocess.Popen([*command, f"--out={out}"], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (out / "checkpoints" / "last.npz").exists():
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    second = subprocess.run(
        [*command, f"--out={out}"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (out / locks.CLAIMS).exists(), "the first was over before it was stopped"
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert re.fullmatch(rf"error: {out}: {named(first.pid)} is at work in it; .*\n", second.stderr)
    assert first.wait(120) == 0
    argv = ["run", *flags, f"--out={tmp_path / 'alone'}"]
    assert console.execute(options.Options, run.main, run.USAGE, argv) == 0
    for name in ("predictions.npz", "checkpoints/last.npz"):
        with np.load(out / name) as ours, np.load(tmp_path / "alone" / name) as alone:
            assert set(ours.files) == set(alone.files)
            for array in set(ours.files) - {"history"}:  # which has the seconds
                np.testing.assert_array_equal(ours[array], alone[array])
