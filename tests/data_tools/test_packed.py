"""Files in zips, named as `FILE.zip:MEMBER`."""

import io
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from data_tools import packed
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources.feature_files import open_features
from data_tools.sources.table import read_table
from data_tools.steps.embedding import from_file
from tagnet.errors import InputError

CSV = "image_id,tags,labels\n" + "".join(f"p{row},a|b,{'xy'[row % 2]}\n" for row in range(12))


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


def array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_tables_in_zips_are_read_as_beside_them(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(CSV)
    expected = read_table(tmp_path / "m.csv", "|")
    one = zipped(tmp_path / "one.zip", t__m_csv=CSV)
    with zipfile.ZipFile(one, "a") as archive:  # as macOS packs
        archive.writestr("__MACOSX/t/._m.csv", b"\0")
    frame = io.BytesIO()
    expected[["image_id", "tags", "labels"]].to_parquet(frame)
    several = zipped(tmp_path / "n.zip", m_csv=CSV, n_csv=CSV[:60], m_parquet=frame.getvalue())
    for name in (one, f"{one}:t/m.csv", f"{several}:m.csv", f"{several}:m.parquet"):
        found = read_table(Path(name), "|")
        pd.testing.assert_frame_equal(found, expected)


def test_features_in_zips(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        file["group/phi"] = values
        file["group/other"] = values[:2]
    path = zipped(tmp_path / "f.zip", a_npy=array(values), d__b_h5=stored.getvalue())
    for name in (f"{path}:a.npy", f"{path}:d/b.h5:group/phi"):
        np.testing.assert_array_equal(open_features(name).array[0:3], values)
    both = open_features(f"{path}:a.npy,{path}:d/b.h5:group/other")
    np.testing.assert_array_equal(both.array[0:5], np.concatenate([values, values[:2]]))
    message = f"{path}:d/b.h5: must hold exactly one array; received group/other, group/phi"
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        open_features(f"{path}:d/b.h5")
    alone = zipped(tmp_path / "g.ZIP", a_npy=array(values))
    np.testing.assert_array_equal(open_features(alone).array[0:3], values)


def test_lines_for_what_is_not_there(tmp_path: Path) -> None:
    path = zipped(tmp_path / "m.zip", a_csv=CSV, b_csv=CSV)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(path.read_bytes()[:-30])
    locked = tmp_path / "locked.zip"
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption
        content[content.index(mark) + at] |= 1
    locked.write_bytes(content)
    choose = f"(choose: {path}:a.csv, for example)"
    for name, message in [
        (path, f"{path}: must hold one file; received a.csv, b.csv {choose}"),
        (f"{path}:c.csv", f"{path}: must hold c.csv; received a.csv, b.csv"),
        (zipped(tmp_path / "none.zip"), "none.zip: must hold one file; received none"),
        (f"{cut}:a.csv", f"{cut}: cannot be read (File is not a zip file)"),
        (f"{locked}:a.csv", f"{locked}:a.csv: cannot be read (File 'a.csv' is encrypted"),
        (tmp_path / "absent.zip", "absent.zip: cannot be read (No such file or directory)"),
        (f"{path}:a.txt", f"{path}:a.txt: a table must end in .csv, "),
    ]:
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            read_table(Path(name), "|")
        assert "\n" not in str(caught.value)
        if ":a.txt" not in str(name):
            with pytest.raises(InputError, match="cannot be|must hold|must be a .npy"):
                open_features(name)


@pytest.mark.parametrize("at", [31, 35, 40, 60])  # its name, its contents
def test_damage_anywhere_in_a_member_ends_in_one_line(tmp_path: Path, at: int) -> None:
    whole = zipped(tmp_path / "m.zip", a_csv=CSV, b_csv=CSV).read_bytes()
    path = tmp_path / "damaged.zip"
    path.write_bytes(whole[:at] + b"\xff\xff" + whole[at + 2 :])
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: cannot be read"):
        read_table(Path(f"{path}:a.csv"), "|")
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: cannot be read"):
        packed.unpacked(f"{path}:a.csv")
    assert len(read_table(Path(f"{path}:b.csv"), "|")) == 12


def test_a_name_that_is_a_file_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip:m.csv"
    path.write_text(CSV)
    assert packed.split(path) == (path, None)
    assert len(read_table(path, "|")) == 12


def test_another_member_of_the_same_zip_is_prepared_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).random([12, 4], np.float32)
    path = zipped(
        tmp_path / "m.zip",
        m_csv=CSV,
        n_csv=CSV.replace("a|b", "a|c"),
        f_npy=array(values),
        g_npy=array(values + 1),
    )

    def made(table: str, features: str) -> str:
        given = {"raw": Path(f"{path}:{table}"), "features": Path(f"{path}:{features}")}
        prepare(Settings.of(**given, M=1, pools=("open",)), tmp_path / "out")
        return capsys.readouterr().out

    made("m.csv", "f.npy")
    assert "up to date" in made("m.csv", "f.npy")
    assert (tmp_path / "out" / "vocabulary.txt").read_text() == "a\nb\n"
    made("n.csv", "f.npy")
    assert (tmp_path / "out" / "vocabulary.txt").read_text() == "a\nc\n"
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").glob("images*")}
    made("n.csv", "g.npy")
    assert before != {file.name: file.read_bytes() for file in (tmp_path / "out").glob("images*")}
    one, two = (from_file(Path(f"{path}:{name}"), "w2v") for name in ("v.txt", "w.txt"))
    assert one.inputs == two.inputs == {"w2v vectors": path}
    assert one.settings != two.settings
