"""How a command reads its flags and ends."""

import dataclasses
import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import one_line

from tagnet.errors import InputError
from tagnet.system import console, memory


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
        "import dataclasses; from tagnet import console\n"
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


def test_an_interruption_is_one_line_and_status_130(capsys):
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupt = lambda options: signal.raise_signal(signal.SIGINT)  # noqa: E731
        assert console.execute(Options, interrupt, "usage", ["command"]) == 130
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert one_line(capsys) == "interrupted; what is written is whole\n"


def test_sigterm_ends_a_command_that_gives_its_claims_back(tmp_path):
    program = (
        "import pathlib, sys, time; from tagnet import console; from tagnet.claims import held\n"
        "out = pathlib.Path(sys.argv.pop())\n"
        "def main(options):\n"
        "    with held(out, 'work'):\n"
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
        assert process.stderr.read() == b"interrupted; what is written is whole\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interruption_while_an_object_is_cleared_away_is_not_lost(number):
    program = (
        "import dataclasses, signal, time; from tagnet import console\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupted:\n"
        "    def __del__(self):\n"
        f"        signal.raise_signal(signal.{number})\n"
        "        time.sleep(0)\n"
        "def main(options):\n"
        "    Interrupted()\n"
        "    time.sleep(1)\n"
        "console.run(dataclasses.make_dataclass('Options', []), main, '')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "interrupted; what is written is whole\n")


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
            "there is not enough memory (OOM when allocating); what is written is whole",
        ),
        (MemoryError(), "there is not enough memory (MemoryError); what is written is whole"),
        (
            RuntimeError("can't start new thread"),
            "there is not enough memory (can't start new thread); what is written is whole",
        ),
        (
            ImportError("/lib/x.so: failed to map segment from shared object"),
            "there is not enough memory (/lib/x.so: failed to map segment from shared object); "
            "what is written is whole",
        ),
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


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.NotFoundError(None, None, "{{function_node f}} Function g is not found"),
        SystemError("error return without exception set"),
    ],
)
def test_compiled_code_near_the_limit_of_memory(capsys, monkeypatch, error):
    """It told of a function that it could not find, which it had no memory to make, or nothing."""

    def fail(options):
        raise error

    with pytest.raises(type(error)):
        console.execute(Options, fail, "usage", ["command"])
    near = lambda: memory.psutil.Process().memory_info().vms + 2**20  # noqa: E731
    monkeypatch.setattr(memory, "address_space_limit", near)
    assert console.execute(Options, fail, "usage", ["command"]) == 2
    warned, told = capsys.readouterr().err.splitlines()
    assert warned == (
        "warning: ulimit -v leaves 1 MB of address space; a library that needs more ends the "
        "process in words of its own, or without any"
    )
    assert told == f"error: there is not enough memory ({error}); what is written is whole"


def test_no_temporary_directory():
    program = (
        "import runpy, tempfile\n"
        "tempfile._candidate_tempdir_list = lambda: ['/proc/none']\n"
        "runpy.run_module('experiments.run')"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True)
    line = "error: No usable temporary directory found in ['/proc/none']; TMPDIR can name another\n"
    assert (ended.returncode, ended.stderr) == (2, line)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
@pytest.mark.parametrize("module", ["experiments.run", "data_tools.prepare", "tagnet.system.files"])
def test_too_little_address_space_for_the_libraries(module):
    limited = f"ulimit -v 1000000; exec '{sys.executable}' -m {module}"
    ended = subprocess.run(["sh", "-c", limited], capture_output=True, text=True)
    line = "ulimit -v must allow at least 2252800 KB of address space, of which TensorFlow uses "
    told = ended.stderr.splitlines()[-1]
    if module == "tagnet.system.files":  # a library leaves it to others to end the process
        assert (ended.returncode, told) == (1, f"MemoryError: {line}little; received 1000000")
    else:
        assert (ended.returncode, ended.stderr) == (2, f"error: {line}little; received 1000000\n")


def test_help_names_every_flag_and_default(capsys):
    assert read("--help") == (0,)
    assert capsys.readouterr().out.splitlines() == [
        "usage",
        "",
        "  --number           a number [3]",
        "  --rate             a rate",
        "  --names            some names [a,b]",
        "  --place            a place",
        "  --loud             whether",
    ]
