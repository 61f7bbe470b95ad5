"""How a command reads its flags and ends."""

import dataclasses
import errno
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tensorflow as tf
from helpers.tables import one_line

from tagnet.errors import InputError
from tagnet.system import console


@dataclasses.dataclass(frozen=True)
class Options:
    number: int = console.option(3, "a number")
    rate: float | None = console.option(None, "a rate")
    names: tuple[str, ...] = console.option(("a", "b"), "some names")
    place: Path | None = console.option(None, "a place")
    loud: bool = console.option(False, "whether")


@dataclasses.dataclass(frozen=True)
class WithArguments(Options):
    arguments: tuple[str, ...] = ()


def read(*argv, options=Options):
    seen = []
    status = console.execute(options, seen.append, "usage", ["command", *argv])
    return status, *seen


def test_flags_become_typed_options():
    flags = ["--number=7", "--rate=.5", "--names=x,y", "--place=here", "--loud"]
    assert read(*flags) == (0, Options(7, 0.5, ("x", "y"), Path("here"), True))


def test_what_is_not_given_keeps_its_default():
    assert read() == (0, Options())
    assert read("--number=0") == (0, Options(number=0))


def test_arguments_beside_the_flags():
    status, options = read("one", "--number=1", "two", options=WithArguments)
    assert status == 0
    assert options.arguments == ("one", "two")
    assert options.number == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--nmuber=1"], "error: Unknown command line flag 'nmuber'. Did you mean: number ?"),
        (["--number=x"], "error: flag --number=x: invalid literal for int() with base 10: 'x'"),
        (["--number"], "error: Missing value for flag --number"),
        (["stray"], "error: unexpected argument 'stray'; flags start with --"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, flags, line):
    assert read(*flags) == (2,)
    printed = capsys.readouterr()
    assert printed.err.startswith(line)
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_an_input_error_of_the_command_itself(capsys):
    def refuse(options):
        raise InputError("file: rule; received x")

    assert console.execute(Options, refuse, "usage", ["command"]) == 2
    assert capsys.readouterr().err == "error: file: rule; received x\n"


def test_a_reader_that_has_gone_is_no_fault():
    program = (
        "import dataclasses; from tagnet.system import console\n"
        "Options = dataclasses.make_dataclass('Options', [])\n"
        "console.run(Options, lambda options: [console.say('x') for _ in range(99999)], '')\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"x\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_nobody_reads_the_help(monkeypatch, flag):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert console.execute(Options, lambda options: None, "usage", ["command", flag]) == 1
    sys.stdout.close()  # what it put in the place of the broken one


def test_an_interruption_is_one_line_and_status_130(capsys):
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupt = lambda options: signal.raise_signal(signal.SIGINT)  # noqa: E731
        assert console.execute(Options, interrupt, "usage", ["command"]) == 130
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert one_line(capsys) == "interrupted; finished files are complete\n"


def test_sigterm_ends_a_command_that_releases_its_locks(tmp_path):
    program = (
        "import pathlib, sys, time; from tagnet.system import console, locks\n"
        "out = pathlib.Path(sys.argv.pop())\n"
        "def main(options):\n"
        "    with locks.exclusive(out, 'work'):\n"
        "        console.say('begun')\n"
        "        time.sleep(600)\n"
        "console.run(__import__('dataclasses').make_dataclass('Options', []), main, '')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"begun\n"
        assert (tmp_path / "out").exists()
        process.terminate()
        assert process.stderr.read() == b"interrupted; finished files are complete\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), "a: No space left on device"),
        (OSError(errno.EIO, "Input/output error"), "the system: Input/output error"),
        (
            RuntimeError(
                "flush failed (time = now\n, error message = 'No space left on device', x)"
            ),
            "the system: No space left on device",
        ),
        (
            tf.errors.NotFoundError(
                None, None, "{{function_node f}} /a/b; No such file or directory [Op:ReadFile]"
            ),
            "/a/b: No such file or directory",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "/a; No space left on device"),
            "/a: No space left on device",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\n[[node]]"),
            "not enough memory (OOM when allocating)",
        ),
        (MemoryError(), "not enough memory (MemoryError)"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_status_2(capsys, error, line):
    def fail(options):
        raise error

    assert console.execute(Options, fail, "usage", ["command"]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError("x"), tf.errors.NotFoundError(None, None, "x; y")]
)
def test_a_fault_of_ours_keeps_its_traceback(error):
    def fail(options):
        raise error

    with pytest.raises(type(error)):
        console.execute(Options, fail, "usage", ["command"])


def test_no_temporary_directory(monkeypatch, capsys):
    """As in a container whose file systems are read-only."""
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    argv = ["command"]
    assert console.execute(Options, lambda options: tempfile.mkdtemp(), "usage", argv) == 2
    assert "No usable temporary directory found" in one_line(capsys)


def test_help_names_every_flag_and_default(capsys):
    assert read("--help") == (0,)
    assert capsys.readouterr().out.splitlines() == [
        "usage",
        "",
        "  --number           a number [3]",
        "  --rate             a rate",
        "  --names            some names [a,b]",
        "  --place            a place",
        "  --loud             whether [off]",
        "  --quiet            print results and errors only [off]",
    ]


def test_help_can_be_printed_in_any_code_page():
    """λ is in few of them, and Windows takes its own for a pipe."""
    command = [sys.executable, "-m", "experiments.run", "--help"]
    env = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    ended = subprocess.run(command, capture_output=True, env=env)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"L2 penalty \\u03bb" in ended.stdout


# --- --quiet --------------------------------------------------------------------------------


def speak(options: Options) -> None:
    console.say("news")
    console.say_loading("it")
    console.say("what was asked for", result=True)
    if options.number == 0:
        raise InputError("a mistake")


@pytest.mark.parametrize(
    ("flags", "out", "err"),
    [
        ([], "news\nwhat was asked for\n", "loading it …\n"),
        (["--quiet"], "what was asked for\n", ""),
        (["--quiet", "--number=0"], "what was asked for\n", "error: a mistake\n"),
        (["--noquiet"], "news\nwhat was asked for\n", "loading it …\n"),
    ],
)
def test_quiet_leaves_results_and_errors(flags, out, err, capsys):
    console.execute(Options, speak, "usage", ["command", *flags])
    assert capsys.readouterr() == (out, err)


def test_quiet_is_of_one_command(capsys):
    console.execute(Options, speak, "usage", ["command", "--quiet"])
    assert console.is_quiet()
    capsys.readouterr()
    console.execute(Options, speak, "usage", ["command"])
    assert capsys.readouterr().out.startswith("news")


def test_quiet_shows_no_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert not console.progress([], "work").disable
    console.execute(Options, speak, "usage", ["command", "--quiet"])
    assert console.progress([], "work").disable
    console.execute(Options, speak, "usage", ["command"])


def test_off_a_terminal_long_work_says_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(console, "LINE_EVERY", 0.02)
    for _ in console.progress(range(4), "slow"):
        time.sleep(0.03)
    for _ in console.progress(iter(range(2)), "of any length"):
        time.sleep(0.03)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch("slow: [1-3] of 4, about 00:00 left", lines[0])
    assert re.fullmatch("of any length: [12]", lines[-1])
    assert all(re.fullmatch("[ a-z]+: .*", line) for line in lines)
    monkeypatch.undo()
    assert list(console.progress(range(1000), "short")) == list(range(1000))
    assert capsys.readouterr().err == ""
