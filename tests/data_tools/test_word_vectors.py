"""Word vectors: the formats of their files, and which words stand for a tag."""

import bz2
import gzip
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from helpers.tables import WORDS, Table, make_table
from helpers.wordnet import write as write_wordnet

from data_tools.pipeline import prepare
from data_tools.vectors import binary_words, vector_files
from data_tools.vectors.vector_files import WordTable, read_vectors
from data_tools.vectors.word_vectors import RULES, look_up, spellings, train, wanted
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tags import Vocabulary
from tagnet.errors import InputError

QUICK = {"pools": ("train",), "splits": 1}


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- Files --------------------------------------------------------------------------------


@pytest.fixture
def binary(table: Table) -> Path:
    """The table's word vectors in binary word2vec format, as gensim writes it."""
    path = table.word_vectors.with_suffix(".bin")
    text = KeyedVectors.load_word2vec_format(str(table.word_vectors))
    text.save_word2vec_format(str(path), binary=True)
    return path


@pytest.mark.parametrize("read_bytes", [7, 50, 2**22])
def test_all_formats_give_the_same(
    table: Table, binary: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    monkeypatch.setattr(binary_words, "READ_BYTES", read_bytes)
    expected = [line.split()[1:] for line in table.word_vectors.read_text().splitlines()[1:]]
    lines = table.word_vectors.read_bytes().split(b"\n")
    size = 4 * len(expected[0])
    with_feeds = binary.read_bytes()[: len(lines[0]) + 1]  # as word2vec's own program writes it
    for line, row in zip(lines[1:], expected, strict=False):
        numbers = np.array(row, "<f4").tobytes()
        assert len(numbers) == size
        with_feeds += line.split()[0] + b" " + numbers + b"\n"
    folder = binary.parent
    fasttext = b"\n".join([lines[0], *(line + b" " for line in lines[1:-1]), b""])
    for path in (
        table.word_vectors,
        binary,
        write(folder, "feeds.bin", with_feeds),
        write(folder, "fasttext.vec", fasttext),
        write(folder, "glove.txt", b"\n".join(lines[1:])),
        write(folder, "windows.txt", b"\r\n".join(lines)),
        write(folder, "no-end.txt", b"\n".join(lines).rstrip()),
    ):
        zipped = write(folder, f"{path.name}.gz", gzip.compress(path.read_bytes()))
        for file in (path, zipped):
            found = read_vectors(file)
            assert found.words == WORDS[:-1], file
            assert found.vectors.dtype == np.float32
            np.testing.assert_array_equal(found.vectors, np.array(expected, np.float32))


@pytest.mark.parametrize("name", ["text", "binary"])
def test_only_what_is_wanted_is_kept(table: Table, binary: Path, name: str) -> None:
    path = {"text": table.word_vectors, "binary": binary}[name]
    whole = KeyedVectors.load_word2vec_format(str(path), binary=name == "binary")
    found = read_vectors(path, {"sun", "cat", "elsewhere"}.__contains__)
    assert found.words == ("sun", "cat")  # in the order of the file
    np.testing.assert_array_equal(found.vectors, whole[["sun", "cat"]])
    assert read_vectors(path, lambda word: False).vectors.shape == (0, 6)


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_words, "READ_BYTES", 2**14)
    monkeypatch.setattr(binary_words, "WORD_BYTES", 2**14)
    monkeypatch.setattr(vector_files, "LINE_BYTES", 2**14)
    rows = [f"w{row} ".encode() + bytes(400) for row in range(10_000)]
    path = write(tmp_path, "v.bin", b"10000 100\n" + b"".join(rows))  # 4 MB
    tracemalloc.start()
    try:
        assert len(read_vectors(path, lambda word: word.endswith("99")).words) == 100
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_of_a_word_that_occurs_twice_the_first_counts(tmp_path: Path) -> None:
    found = read_vectors(write(tmp_path, "v.txt", "3 1\na 1\nb 2\na 3\n"))
    assert dict(zip(found.words, found.vectors[:, 0], strict=True)) == {"a": 1, "b": 2}


def test_a_word_of_glove_may_hold_blanks(tmp_path: Path) -> None:
    found = read_vectors(write(tmp_path, "v.txt", "a 1 2\n. . . 3 4\n\xa0b 5 6\n"))
    assert found.words == ("a", ". . .", "\xa0b")
    assert found.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_bytes_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    assert read_vectors(write(tmp_path, "v.txt", b"2 1\na\xff 1\nb 2\n")).words == ("a�", "b")


def test_binary_cut_off_anywhere_is_refused(binary: Path) -> None:
    whole = binary.read_bytes()
    for length in range(len(whole) - 1):
        binary.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_vectors(binary)
        assert str(caught.value).startswith(f"{binary}: ")
        assert "\n" not in str(caught.value)


def test_gzip_cut_off_anywhere_is_refused(binary: Path) -> None:
    zipped = binary.with_name("v.bin.gz")
    whole = gzip.compress(binary.read_bytes())
    for length in range(0, len(whole) - 1, 5):
        zipped.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_vectors(zipped)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must begin with the number of words and the dimension (word2vec, fastText) or"),
        ("a b c\n", "must begin with the number of words"),
        (b"\x80\x04\x95 pickled", "is a pickle such as gensim's .kv, which is never opened"),
        ("0 2\n", "must have a word and at least one number per line; received b'0 2\\n'"),
        ("3 2\na 0.1 0.2\n", "line 1 says 3 words; received 1; was the file cut off?"),
        ("2 2\na 0.1 0.2\nb 0.3", "the last line must be a word and 2 numbers; received b'b 0.3'"),
        ("a 0.1 0.2\nb 0.3", "the last line must be a word and 2 numbers; received b'b 0.3'; was"),
        ("5 2\na 0.1 0.2\nb\nc\nd\ne\n", "a line must be a word and 2 numbers; 4 of 5 are not"),
        ("2 2\na 0.1 0.2\nb nan 1\n", "vectors must be finite; that of 'b' has NaN or infinity"),
        ("a 0.1 0.2\nb 1e99 1\n", "vectors must be finite; that of 'b' has NaN or infinity"),
        (b"\xba\x16\x4f\x2f\x0c", "is a fastText model (.bin); save its words as text"),
        (b"\x93NUMPY\x01", "is an array without words"),
        ("900 300\na 0.1 0.2\n", "line 1 says 900 words of 300 numbers, more than 18 bytes hold"),
        (b"1 2\na 12345678b", "line 1 says 1 word of 2 numbers; the file has more"),
        (b"2 2\na 12345678b 1234567", "line 1 says 2 words of 2 numbers; the file ends in word 2"),
    ],
)
def test_bad_vectors(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, "v.txt", content)
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        read_vectors(path)


def test_missing_vectors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.bin: cannot be read \(No such file"):
        read_vectors(tmp_path / "absent.bin")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    vectors = KeyedVectors(2)
    vectors.add_vectors(["a"], [[1, 2]])
    vectors.save(str(tmp_path / "v.kv"))  # gensim's own format, a pickle
    with pytest.raises(InputError, match=r"is a pickle .*save_word2vec_format\("):
        read_vectors(tmp_path / "v.kv")


@pytest.mark.parametrize(
    "line",
    [
        b"new york 0.5 1 1.5 2",
        b"new york\t0.5\t1\t1.5\t2",
        b"new\xc2\xa0york 0.5 1 1.5 2 ",
        b"\t 0.5 1 1.5 2",
        b"  0.5 1 1.5 2",
        b" 0.5 1 1.5 2",
        b"b 0.5 1",
        b"b 0.5 1 x 2",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("header", [b"\xef\xbb\xbf3 4\n", b"4 4\n", b"2 4\n", b""])
def test_one_odd_line_does_no_harm(tmp_path: Path, line: bytes, place: int, header: bytes) -> None:
    lines = [b"sea 1 2 3 4", b"5 5 6 7 8"]
    lines.insert(place, line)
    found = read_vectors(write(tmp_path, "v.vec", header + b"\n".join(lines) + b"\n"))
    vectors = dict(zip(found.words, found.vectors.tolist(), strict=True))
    if line.startswith(b"new"):
        (name,) = vectors.keys() - {"sea", "5"}
        assert "_".join(name.split()) == "new_york"
        assert vectors[name] == [0.5, 1, 1.5, 2]
    assert {name: vectors[name] for name in ("sea", "5")} == {
        "sea": [1, 2, 3, 4],
        "5": [5, 6, 7, 8],
    }


def test_odd_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_vectors(write(tmp_path, "v.vec", "5 2\na 1 2\nb 1\nc 1 2\nd 1 x\n"))
    assert capsys.readouterr().out == (
        "v.vec: line 1 says 5 words; received 4, all of which are used\n"
        "v.vec: 2 lines ignored that are not a word and 2 numbers; the first: b'b 1\\n'\n"
    )


@pytest.mark.parametrize("dim", [4, 50, 300])
@pytest.mark.parametrize("between", [b"", b"\n"])
@pytest.mark.parametrize(
    "name", ["new york", "a b", "the sea", "NEW YORK CITY", "route 66", "ab cde", "Ö Ä", " ", "x "]
)
def test_words_with_blanks_in_binary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, between: bytes, dim: int
) -> None:
    monkeypatch.setattr(binary_words, "READ_BYTES", 100)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        words = ["sea", "sky", name, "new", name.replace(" ", "  "), "été"]
        vectors = rng.normal(scale=0.3, size=[len(words), dim]).astype("<f4")
        content = f"{len(words)} {dim}\n".encode()
        for word, vector in zip(words, vectors, strict=True):
            content += word.encode() + b" " + vector.tobytes() + between
        found = read_vectors(write(tmp_path, "v.bin", content))
        kept = [row for row, word in enumerate(words) if word in found.words]
        assert found.words == tuple(dict.fromkeys(words))
        np.testing.assert_array_equal(found.vectors, vectors[kept][: len(found.words)])


def test_what_gensim_writes_of_words_with_blanks(table: Table, tmp_path: Path) -> None:
    words = ["lake", "new york", "new", "san francisco bay", "bread"]
    vectors = np.random.default_rng(0).normal(size=[len(words), 8]).astype(np.float32)
    keyed = KeyedVectors(8)
    keyed.add_vectors(words, vectors)
    for name, binary in {"v.bin": True, "v.vec": False}.items():
        keyed.save_word2vec_format(str(tmp_path / name), binary=binary)
        found = read_vectors(tmp_path / name)
        assert found.words == tuple(words)
        np.testing.assert_allclose(found.vectors, vectors, rtol=1e-5)
    vocabulary = Vocabulary(("new_york", "newyork", "new", "san_francisco_bay", "paris"))
    kept = read_vectors(tmp_path / "v.bin", wanted(vocabulary))
    embedding, _ = look_up(vocabulary, kept)
    np.testing.assert_array_equal(embedding.vectors[[0, 1, 2, 3]], vectors[[1, 1, 2, 3]])
    assert embedding.known.tolist() == [True, True, True, True, False]


def test_a_binary_file_of_other_numbers_is_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=[20, 8])
    content = b"20 8\n" + b"".join(
        b"w%d " % n + row.astype("<f2").tobytes() for n, row in enumerate(rows)
    )
    with pytest.raises(
        InputError, match=r"word \d+ must be text, a blank and 8 numbers|cut off|has more"
    ):
        read_vectors(write(tmp_path, "v.bin", content))


def test_packed_files(table: Table, tmp_path: Path) -> None:
    content = table.word_vectors.read_bytes()
    expected = read_vectors(table.word_vectors)
    files = [
        write(tmp_path, "v.bz2", bz2.compress(content)),
        write(tmp_path, "v", gzip.compress(content)),
    ]
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/v.vec", content)
    for path in [*files, tmp_path / "v.zip"]:
        np.testing.assert_array_equal(read_vectors(path).vectors, expected.vectors)
    with zipfile.ZipFile(tmp_path / "v.zip", "a") as archive:
        archive.writestr("w.vec", content)
    path = tmp_path / "v.zip"
    message = f"must hold one file; received folder/v.vec, w.vec (choose: {path}:folder/v.vec, for"
    with pytest.raises(InputError, match=re.escape(message)):
        read_vectors(path)
    chosen = read_vectors(Path(f"{path}:w.vec"))
    np.testing.assert_array_equal(chosen.vectors, expected.vectors)


# --- The words of a tag -------------------------------------------------------------------


def found(tag: str, words: str) -> tuple[str, list[float]] | None:
    """Which rule finds the tag, and where among `words` its words stand (counted from 1)."""
    table = WordTable(tuple(words.split()), np.eye(len(words.split()), dtype=np.float32))
    keep = wanted(Vocabulary((tag,)))
    kept = [row for row, word in enumerate(table.words) if keep(word)]
    table = WordTable(tuple(table.words[row] for row in kept), table.vectors[kept])
    embedding, rules = look_up(Vocabulary((tag,)), table)
    assert sum(rules.values()) == embedding.known.sum() <= 1
    if not embedding.known[0]:
        assert not embedding.vectors.any()
        return None
    (rule,) = (name for name, count in rules.items() if count)
    rows = np.flatnonzero(embedding.vectors[0])
    np.testing.assert_allclose(embedding.vectors[0, rows], 1 / len(rows))
    return rule, (rows + 1).tolist()


@pytest.mark.parametrize(
    ("tag", "words", "expected"),
    [
        ("paris", "Paris paris", ("as it is", [2])),
        ("paris", "PARIS Paris", ("as it is", [2])),
        ("usa", "US USA", ("as it is", [2])),
        ("new_york", "new york New_York", ("as it is", [3])),
        ("unheard", "hear heard", None),
        ("42", "4 2", None),
        ("beaches", "beache beach", ("singular", [1])),  # -s before -es
        ("beaches", "beach", ("singular", [1])),
        ("horses", "hors horse", ("singular", [2])),
        ("cherries", "cherry cherrie", ("singular", [1])),
        ("women", "woman man", ("singular", [1])),
        ("grandchildren", "child grandchild", ("singular", [2])),
        ("knives", "knife", ("singular", [1])),
        ("leaves", "leaf leave", ("singular", [1])),
        ("olives", "olive", ("singular", [1])),
        ("feet", "foot", ("singular", [1])),
        ("parises", "Paris", ("singular", [1])),
        ("gas", "ga", None),
        ("newyorkcity", "New_York New_York_City new-york-city", ("joined", [2])),
        ("t_shirt", "t shirt tshirt", ("joined", [3])),
        ("t_shirt", "t shirt t-shirt", ("joined", [3])),
        ("selfportrait", "self portrait self-portrait", ("joined", [3])),
        ("golden_gate_parks", "park gate golden", ("parts", [1, 2, 3])),
        ("golden_gate_parks", "park golden", None),
        ("san_francisco-bay", "San Francisco bay", ("parts", [1, 2, 3])),
        ("longexposure", "exposure long", ("two words", [1, 2])),
        ("germany", "germ any", None),  # words of three letters would make it two words
        ("catalogue", "cata logue", ("two words", [1, 2])),
        # backstage: of two cuts, (backs, tage) has its rarer word at 3, (back, stage) at 4.
        ("backstage", "backs back tage stage", ("two words", [1, 3])),
        ("backstage", "tage back stage backs", ("two words", [2, 3])),
        ("nikon2000", "nikon 2000", None),
    ],
)
def test_rules(tag: str, words: str, expected: tuple | None) -> None:
    assert found(tag, words) == expected


def test_rules_are_counted() -> None:
    table = WordTable(("sea", "dog"), np.eye(2, dtype=np.float32))
    embedding, rules = look_up(Vocabulary(("sea", "dogs", "sea_dog", "cat")), table)
    assert rules == {"as it is": 1, "singular": 1, "joined": 0, "parts": 1, "two words": 0}
    assert list(rules) == list(RULES)
    assert embedding.vectors.tolist() == [[1, 0], [0, 1], [0.5, 0.5], [0, 0]]
    assert embedding.known.tolist() == [True, True, True, False]


def test_a_number_has_one_spelling() -> None:
    assert list(spellings("42")) == ["42"]


# --- Vectors of one's own -----------------------------------------------------------------


def test_training_finds_tags_that_stand_together() -> None:
    rng = np.random.default_rng(0)
    groups = [[f"{kind}{i}" for i in range(6)] for kind in ("sea", "city")]
    lists = [list(rng.permutation(groups[row % 2])[:3]) for row in range(400)] + [["lonely"]]
    table = train(lists, seed=3)
    assert set(table.words) == {*groups[0], *groups[1]}
    assert table.vectors.shape == (12, 300)
    vectors = table.vectors / np.linalg.norm(table.vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    same = np.array([[one[0] == other[0] for other in table.words] for one in table.words])
    others = ~np.eye(12, dtype=bool)
    assert cosines[same & others].min() > cosines[~same].max()
    np.testing.assert_array_equal(train(lists, seed=3).vectors, table.vectors)
    assert (train(lists, seed=4).vectors != table.vectors).any()


def test_training_needs_two_tags_on_an_image() -> None:
    with pytest.raises(InputError, match="--word_vectors=train: no image has two known tags"):
        train([["sea"], []], seed=0)


# --- In the pipeline ----------------------------------------------------------------------


def test_train_in_place_of_a_file(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = table.settings(**QUICK, word_vectors=Path("train"))
    summary = prepare(settings, tmp_path / "out")
    assert summary["encodings"] == ["id", "w2v"]
    assert summary["embeddings"]["w2v"]["n"] == 300
    data = PreparedDataset(tmp_path / "out")
    lists = [data.vocabulary.decode(ids) for ids in data.tags]
    expected, _ = look_up(data.vocabulary, train(lists, seed=0))
    np.testing.assert_array_equal(data.embedding("w2v").vectors, expected.vectors)
    capsys.readouterr()
    prepare(table.settings(**QUICK, word_vectors=Path("train"), seed=1), tmp_path / "out")
    reason = "embeddings-w2v: running again, seed changed from 0 to 1"
    assert reason in capsys.readouterr().out


def test_the_wordnet_database_gives_wnet(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = table.raw.read_text()
    for tag, other in {"sea": "tails", "sky": "chase", "sun": "Domestic Dog"}.items():
        text = re.sub(rf"(?<=[,|]){tag}(?=[,|])", other, text)
    table.raw.write_text(text)
    database = write_wordnet(tmp_path / "wordnet")
    settings = table.settings(**QUICK, word_vectors=None, wordnet=database, wordnet_dim=4)
    summary = prepare(settings, tmp_path / "out")
    assert summary["encodings"] == ["id", "wnet"]
    rules = {"as it is": 4, "singular": 1, "joined": 0, "parts": 0, "two words": 0}
    assert summary["embeddings"] == {"wnet": {"n": 4, "known": 5, "rules": rules}}
    assert "embeddings-wnet: tags found: 4 as it is, 1 singular\n" in capsys.readouterr().out
    beta = PreparedDataset(tmp_path / "out").embedding("wnet")
    assert beta.known.sum() == 5
    with open(database / "data.verb", "a") as file:
        file.write("00000900 03 v 01 wag 0 001 @ 00000100 v 0000 | a gloss\n")
    prepare(settings, tmp_path / "out", dry_run=True)
    changed = f"embeddings-wnet: would run again, data.verb changed ({database / 'data.verb'})"
    assert changed in capsys.readouterr().out


def test_a_missing_database_leaves_nothing(table: Table, tmp_path: Path) -> None:
    settings = table.settings(**QUICK, wordnet=tmp_path / "absent")
    with pytest.raises(InputError, match=r"absent/data\.noun: cannot be read \(No such file"):
        prepare(settings, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"wordnet": Path("a"), "wordnet_vectors": Path("b")},
            "--wordnet and --wordnet_vectors must not be given together",
        ),
        ({"wordnet_dim": 0}, "--wordnet_dim must be at least 1; received 0"),
    ],
)
def test_bad_settings(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make_table(tmp_path).settings(**changed)


def test_without_guessing_only_the_tag_itself_is_looked_up() -> None:
    vocabulary = Vocabulary(("boat", "boats"))
    table = WordTable(("boat",), np.ones([1, 2], np.float32))
    guessed, rules = look_up(vocabulary, table)
    assert guessed.known.tolist() == [True, True]
    assert rules["singular"] == 1
    exact, rules = look_up(vocabulary, table, guess=False)
    assert exact.known.tolist() == [True, False]
    assert rules["singular"] == 0
