"""Artefacts are whole or absent, and what cannot be read is said in one line."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagnet import errors
from tagnet.errors import InputError
from tagnet.system import files


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "kept.txt"
    files.write_text(path, "before")
    with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another(tmp_path):
    for content in ("old", "new"):
        with files.atomic_write(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]


def test_the_temporary_name_keeps_its_ending(tmp_path):
    with files.atomic_write(tmp_path / "best.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.touch()


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    kept = tmp_path / "deep" / "kept.tmp"
    kept.touch()
    (tmp_path / "deep" / ".tmp-0123abcd-file").touch()
    (tmp_path / ".tmp-0123abcd-folder").mkdir()
    (tmp_path / ".tmp-0123abcd-folder" / "inside").touch()
    files.remove_leftovers(tmp_path)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "deep", kept]


def test_a_name_cannot_break_the_line_of_an_error():
    line = str(InputError("a\nb\x1b[2Jc\u2028d\x85e\tf: é, \u202f and \\ stay"))
    assert line == r"a\nb\x1b[2Jc\u2028d\x85e\tf: " + "é, \u202f and \\ stay"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "x.json: cannot be read (No such file or directory)"),
        (b'{"a": 1', "x.json: line 1 is not JSON (Expecting ',' delimiter); was the file cut off?"),
        (b"[1]", "x.json: must hold a JSON object; received list"),
        (b"caf\xe9", "x.json: must be UTF-8 text; byte 3 is 0xe9"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, content, line):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        files.read_json(path)
    assert str(error.value) == f"{tmp_path}/{line}"


def test_advice_is_for_damage_alone():
    """Where the system refuses, what is there may be whole."""
    with pytest.raises(InputError, match="x: is cut off; prepare again"):
        with files.with_hint("prepare again"):
            raise InputError("x: is cut off")
    with pytest.raises(errors.CannotWrite, match="x: cannot be written$"):
        with files.with_hint("prepare again"):
            raise errors.CannotWrite("x: cannot be written")


def test_arrays_round_trip(tmp_path):
    files.write_arrays(tmp_path / "x.npz", {"a": np.arange(3), "b": np.eye(2)})
    assert set(files.read_arrays(tmp_path / "x.npz")) == {"a", "b"}
    assert files.read_arrays(tmp_path / "x.npz", "a")["a"].tolist() == [0, 1, 2]


def test_a_missing_array_and_a_missing_file(tmp_path):
    files.write_arrays(tmp_path / "x.npz", {"a": np.arange(3)})
    with pytest.raises(InputError, match=r"x.npz: must hold the array 'c'; received \['a'\]"):
        files.read_arrays(tmp_path / "x.npz", "c")
    with pytest.raises(InputError, match=r"y.npz: cannot be read \(No such file or directory\)"):
        files.read_arrays(tmp_path / "y.npz", "c")


class Trap:
    """Would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([Trap(tmp_path / "sprung")], dtype=object))
    (tmp_path / "y.npz").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for name in ("x.npz", "y.npz"):
        with pytest.raises(InputError, match="is not a valid .npz file"):
            files.read_arrays(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archives_are_one_line(tmp_path, data):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(50), b=np.ones([4, 5]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        arrays = files.read_arrays(path, "a", "b")
    except InputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:  # the damage met bytes that carry nothing
        assert arrays["a"].shape and arrays["b"].shape
