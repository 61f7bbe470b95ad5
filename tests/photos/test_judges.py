"""Other programs as judges: what exiftool wrote and reads, and sidecars that programs rewrote."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.photographs import write

from experiments.annotation.sidecars import write_labels
from tagnet.photos.added import RECORDS, SEPARATORS, as_keyword
from tagnet.photos.folders import Photograph, find_photographs, photograph_at
from tagnet.photos.keywords import read_keywords, split_keywords
from tagnet.photos.xmp import Packet

pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed"),
]
COUNT = 2000
TAGS = {
    "IPTC:Keywords": "|",
    "XMP-dc:Subject": "|",
    "XMP-lr:HierarchicalSubject": "|",
    "XMP-digiKam:TagsList": "/",
    "XMP-microsoft:LastKeywordXMP": "/",
    "XMP-mediapro:CatalogSets": "|",
}
WORDS = [
    "sea",
    "blue sky",
    "Zürich",
    "日本",
    "a & b",
    "<x>",
    'it\'s "it"',
    "Ω",
    "dog",
    "auto",
    "50%",
]
LATIN = ["sea", "blue sky", "Zürich", "caf\u00e9", "a & b", "dog"]
# How exiftool is asked to write: XMP with attributes, compressed text, IPTC with its charset.
OPTIONS = (
    ["-codedcharacterset=utf8"],
    ["-codedcharacterset=utf8", "-z", "-api", "Compact=Shorthand"],
    ["-codedcharacterset=utf8", "-api", "Compact=NoPadding,NoIndent,OneDesc"],
    [],  # IPTC in Windows' letters
)


def exiftool(*flags: object) -> str:
    command = ["exiftool", "-q", "-m", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def made(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Photos and sidecars with random keywords, and the options they are written by."""
    drawn = random.Random(0)
    suffixes = (".jpg", ".png", ".tif", ".gif", ".webp")
    for number in range(COUNT):
        options = OPTIONS[number % len(OPTIONS)]
        path = folder / f"{number:04}{drawn.choice(suffixes)}"
        words = WORDS if options else LATIN
        fields: dict[str, Any] = {}
        for place in drawn.choice(([path], [path], [path, path.with_name(f"{path.name}.xmp")])):
            fields = {"SourceFile": str(place)}
            for tag, separator in TAGS.items():
                if drawn.random() < 0.4 and not (place != path and tag.startswith("IPTC")):
                    depth = 1 if tag.startswith(("IPTC", "XMP-dc")) else 3
                    fields[tag] = [
                        separator.join(drawn.choices(words, k=drawn.randint(1, depth)))
                        for _ in range(drawn.randint(1, 4))
                    ]
            fields["XMP-xmp:Rating"] = drawn.randint(0, 5)
            if place != path and drawn.random() < 0.5:
                fields["XMP-dc:Title"] = "title"
            write(path) if place == path else None
            (folder / f"{number}-{place == path}.json").write_text(json.dumps([fields]))
        yield path, options


def expected(values: dict[str, dict[str, Any]], path: Path) -> set[tuple[str, ...]]:
    """What is right of what exiftool reads: the sidecar's keywords, or else the file's."""
    for place in (path.with_name(f"{path.name}.xmp"), path):
        found = set()
        for tag, separator in TAGS.items():
            listed = values.get(str(place), {}).get(tag, [])
            for text in listed if isinstance(listed, list) else [listed]:
                found.add(as_keyword(str(text), separator))
        if found - {()}:
            return found - {()}
    return set()


def tags(photograph: Photograph) -> set[str]:
    """The tags of a photo; flat copies of a hierarchy's levels add none."""
    return set(split_keywords(read_keywords(photograph)[0], None)[0])


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_keywords_are_those_that_exiftool_reads_and_every_byte_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for path, options in list(made(folder)):
        for file in folder.glob(f"{int(path.stem)}-*.json"):
            groups.setdefault(tuple(options), []).extend(json.loads(file.read_text()))
            file.unlink()
    for options, entries in groups.items():
        listed = tmp_path / "values.json"
        listed.write_text(json.dumps(entries))
        files = tmp_path / "files.txt"
        files.write_text("\n".join(entry["SourceFile"] for entry in entries))
        for entry in entries:
            if entry["SourceFile"].endswith(".xmp"):
                Path(entry["SourceFile"]).write_bytes(EMPTY)
        exiftool(f"-json={listed}", *options, "-overwrite_original", "-@", files)
    read = json.loads(
        exiftool("-json", "-G1", "-struct", *(f"-{tag}" for tag in TAGS), "-ext", "*", folder)
    )
    values = {entry["SourceFile"]: {tag: entry.get(tag, []) for tag in TAGS} for entry in read}
    photographs, left_out = find_photographs(folder)
    assert (len(photographs), left_out) == (COUNT, [])
    known = {}
    for photograph in photographs:
        found, damaged = read_keywords(photograph)
        assert (photograph.image_id, damaged) == (photograph.image_id, [])
        wanted = expected(values, photograph.path)
        assert (photograph.image_id, set(found)) == (photograph.image_id, wanted)
        known[photograph.image_id] = tags(photograph)
    before = snapshot(folder)
    for labels in (["dog", "cat"], ["dog", "Zürich", "sea"], ["dog", "Zürich", "sea"], []):
        for photograph in find_photographs(folder)[0]:
            changes = write_labels(photograph, labels, "auto")
            again = photograph_at(photograph.path, {})[0]
            assert tags(again) == known[photograph.image_id]
            assert not changes.made or labels
    assert snapshot(folder) == before


EMPTY = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize("program", ["exiftool", "exiv2"])
@pytest.mark.parametrize("is_there", [False, True])
def test_labels_are_taken_out_of_a_sidecar_that_a_program_rewrote(
    tmp_path: Path, program: str, is_there: bool
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    photo, side = write(tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    lists = ["-XMP-dc:Subject=Rome", "-XMP-dc:Subject=dog", "-XMP-lr:HierarchicalSubject=a|Rome"]
    target = side if is_there else photo
    if is_there:
        side.write_bytes(EMPTY)
    exiftool("-overwrite_original", *lists, target)
    known = read_keywords(photograph_at(photo, {})[0])
    write_labels(photograph_at(photo, {})[0], ["dog", "cat"], "auto")
    if program == "exiftool":
        exiftool("-overwrite_original", "-XMP-xmp:Rating=3", side)
    else:
        command = ["exiv2", "-M", "set Xmp.xmp.Rating 3", str(side)]
        subprocess.run(command, check=True)
    assert read_keywords(photograph_at(photo, {})[0]) == known
    assert b"auto|cat" in side.read_bytes()
    write_labels(photograph_at(photo, {})[0], [], "auto")
    packet = Packet(side.read_bytes())
    values = {name: [value.text for value in packet.values(name)] for name in SEPARATORS}
    assert {name: found for name, found in values.items() if found} == {
        "dc:subject": ["Rome", "dog"],
        "lr:hierarchicalSubject": ["a|Rome"],
    }
    assert not any(packet.has(name) for name in RECORDS.values())
    assert exiftool("-s3", "-XMP-xmp:Rating", side).strip() == "3"
