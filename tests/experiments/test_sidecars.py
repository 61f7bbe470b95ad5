"""XMP sidecars: what is added, what stays, what is taken back, and who can read it."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from helpers.photographs import NAMESPACES, iim, write, xmp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.annotation import packet_labels
from experiments.annotation.sidecars import Changes, write_labels
from tagnet.errors import InputError
from tagnet.photos.added import SEPARATORS
from tagnet.photos.folders import find_photographs, photograph_at
from tagnet.photos.keywords import read_keywords
from tagnet.photos.xmp import Packet

# What a person wrote: keywords, a hierarchy, a rating that is none of our business.
THEIRS = xmp(dc_subject=["Rome", "beach"], lr_hierarchicalSubject=["places|Rome"]).replace(
    b'<rdf:Description rdf:about=""',
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"',
)


def label(photo: Path, *labels: str) -> Changes:
    """Writes labels as the command does, for a photo that is named."""
    return write_labels(photograph_at(photo, {})[0], labels, "auto")


def tags(photo: Path) -> list[tuple[str, ...]]:
    found, damaged = read_keywords(photograph_at(photo, {})[0])
    assert damaged == []
    return found


def lists(path: Path) -> dict[str, list[str]]:
    """The lists of keywords in a sidecar that are not empty."""
    packet = Packet(path.read_bytes())
    found = {name: [value.text for value in packet.values(name)] for name in SEPARATORS}
    return {name: values for name, values in found.items() if values}


# --- New sidecars ---------------------------------------------------------------------------


def test_a_new_sidecar_starts_from_the_photos_own_packet_and_is_deleted_again(tmp_path):
    photo = write(tmp_path / "a.jpg", THEIRS, iim(b"Rome", b"be\1ach", b"alone"))
    before, known = photo.read_bytes(), tags(photo)
    side = tmp_path / "a.jpg.xmp"
    assert label(photo, "dog", "beach").made == [side]
    assert lists(side) == {
        "dc:subject": ["Rome", "beach", "alone", "dog"],
        "lr:hierarchicalSubject": ["places|Rome", "alone", "auto|dog", "auto|beach"],
    }
    assert b'xmp:Rating="4"' in side.read_bytes()
    ET.fromstring(side.read_bytes())
    assert set(tags(photo)) == set(known)
    once = side.read_bytes()
    assert label(photo, "dog", "beach") == Changes()
    assert side.read_bytes() == once
    assert label(photo).deleted == [side]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    assert photo.read_bytes() == before


def test_a_new_sidecar_that_a_person_changed_stays(tmp_path):
    photo = write(tmp_path / "a.jpg", xmp(dc_subject=["Rome"]))
    label(photo, "dog")
    side = tmp_path / "a.jpg.xmp"
    side.write_bytes(
        side.read_bytes().replace(b"<rdf:li>dog</rdf:li>", b"<rdf:li>mine</rdf:li>", 1)
    )
    assert label(photo).changed == [side]
    assert lists(side) == {"dc:subject": ["Rome", "mine"]}
    assert b"tagnet:A" not in side.read_bytes()


def test_what_a_person_has_stays_a_tag_where_it_equals_a_label(tmp_path):
    photo = write(tmp_path / "a.jpg", xmp(dc_subject=["dog", "auto", "beach"]), iim(b"dog"))
    label(photo, "dog", "cat")
    assert lists(tmp_path / "a.jpg.xmp") == {
        "dc:subject": ["dog", "auto", "beach", "cat"],
        "lr:hierarchicalSubject": ["dog", "auto", "beach", "auto|dog", "auto|cat"],
    }
    assert tags(photo) == [("dog",), ("auto",), ("beach",)]


def test_a_photo_without_keywords_and_no_labels(tmp_path):
    photo = write(tmp_path / "a.jpg")
    assert label(photo) == Changes()
    label(photo, "dog")
    assert tags(photo) == []
    text = (tmp_path / "a.jpg.xmp").read_text()
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert text.rstrip().endswith('<?xpacket end="w"?>')
    assert "<dc:subject><rdf:Bag><rdf:li>dog</rdf:li></rdf:Bag></dc:subject>" in text
    assert "<rdf:li>auto|dog</rdf:li>" in text


def test_a_damaged_packet_in_the_photo_does_not_stop_a_new_sidecar(tmp_path):
    photo = write(tmp_path / "a.jpg", THEIRS[:-60], iim(b"sky"))
    label(photo, "dog")
    assert lists(tmp_path / "a.jpg.xmp")["dc:subject"] == ["sky", "dog"]


def test_a_persons_keyword_under_the_prefix_stays(tmp_path):
    photo, side = write(tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    mine = xmp(lr_hierarchicalSubject=["auto|tram", "auto|dog", "car"])
    side.write_bytes(mine)
    known = tags(photo)
    label(photo, "dog", "cat", "car")
    assert lists(side) == {
        "dc:subject": ["dog", "cat", "car"],
        "lr:hierarchicalSubject": ["auto|tram", "auto|dog", "car", "auto|cat", "auto|car"],
    }
    assert tags(photo) == known
    label(photo)
    assert side.read_bytes() == mine


# --- Sidecars that are there ------------------------------------------------------------------


def test_every_list_that_programs_read_first_has_the_labels(tmp_path):
    photo = write(tmp_path / "a.jpg")
    side = tmp_path / "a.jpg.xmp"
    side.write_bytes(
        xmp(
            digiKam_TagsList=["mine/beach", "_Digikam_Internal_Tags_/Pick Label"],
            MicrosoftPhoto_LastKeywordXMP=["mine/beach"],
            mediapro_CatalogSets=["mine|beach"],
            dc_subject=["beach", "alone"],
        )
    )
    known = tags(photo)
    label(photo, "dog")
    assert lists(side) == {
        "dc:subject": ["beach", "alone", "dog"],
        # Levels of a hierarchy stay flat copies of it.
        "lr:hierarchicalSubject": ["mine|beach", "alone", "auto|dog"],
        "digiKam:TagsList": ["mine/beach", "_Digikam_Internal_Tags_/Pick Label", "auto/dog"],
        "MicrosoftPhoto:LastKeywordXMP": ["mine/beach", "auto/dog"],
        "mediapro:CatalogSets": ["mine|beach", "auto|dog"],
    }
    assert set(tags(photo)) == set(known)


def test_nothing_of_the_file_is_repeated_in_a_sidecar_that_is_there(tmp_path):
    photo = write(tmp_path / "a.jpg", xmp(dc_subject=["wrong", "beach"]))
    (tmp_path / "a.jpg.xmp").write_bytes(xmp(dc_subject=["beach"]))
    label(photo, "bird")
    assert b"wrong" not in (tmp_path / "a.jpg.xmp").read_bytes()
    assert tags(photo) == [("beach",)]


def test_labels_go_into_the_sidecar_that_is_there(tmp_path):
    for name in ("lr.xmp", "up.JPG.XMP", "a.xmp"):
        (tmp_path / name).write_bytes(THEIRS)
    for name in ("lr.jpg", "up.JPG", "a.jpg", "a.png"):
        write(tmp_path / name.lower()).rename(tmp_path / name)
    for photo in find_photographs(tmp_path)[0]:
        write_labels(photo, ["dog"], "auto")
    assert {path.name for path in tmp_path.glob("*.[xX]*")} == {
        *("lr.xmp", "up.JPG.XMP", "a.xmp", "a.jpg.xmp", "a.png.xmp")
    }
    assert (tmp_path / "a.xmp").read_bytes() == THEIRS  # shared
    assert "Rome" in lists(tmp_path / "a.png.xmp")["dc:subject"]
    assert lists(tmp_path / "lr.xmp")["dc:subject"][-1] == "dog"


def test_copies_that_other_programs_make_are_ours_too(tmp_path):
    """digiKam repeats a hierarchy in a list of its own, darktable its levels as keywords."""
    photo = write(tmp_path / "a.jpg")
    side = tmp_path / "a.jpg.xmp"
    label(photo, "dog", "cat")
    copied = b"<digiKam:TagsList><rdf:Seq><rdf:li>auto/dog</rdf:li><rdf:li>pets/dog</rdf:li>"
    copied += b"</rdf:Seq></digiKam:TagsList></rdf:Description>"
    text = side.read_bytes().replace(b"</rdf:Description>", copied)
    text = text.replace(
        b"<x:xmpmeta", f'<x:xmpmeta xmlns:digiKam="{NAMESPACES["digiKam"]}"'.encode()
    )
    side.write_bytes(
        text.replace(b"<rdf:li>dog</rdf:li>", b"<rdf:li>dog</rdf:li><rdf:li>auto</rdf:li>", 1)
    )
    assert tags(photo) == [("pets", "dog")]
    label(photo)
    assert lists(side) == {"digiKam:TagsList": ["pets/dog"]}


def test_what_earlier_versions_wrote_is_taken_back(tmp_path):
    """They repeated the photo's keywords, recorded them, and left an empty sidecar behind."""
    photo = write(tmp_path / "a.jpg", iptc=iim(b"dog"))
    side = tmp_path / "a.jpg.xmp"
    side.write_bytes(
        xmp(
            dc_subject=["dog", "be\1ach", "cat"],  # not even XML
            lr_hierarchicalSubject=["dog", "be\1ach", "auto|cat"],
            tagnet_AddedSubjects=["dog", "be\1ach", "cat"],
            tagnet_AddedHierarchy=["dog", "be\1ach", "auto|cat"],
        )
    )
    assert tags(photo) == [("dog",)]
    assert label(photo).deleted == [side]


# --- Forms of XMP -----------------------------------------------------------------------------

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
SPACES = " ".join(f'xmlns:{name}="{uri}"' for name, uri in NAMESPACES.items())
FORMS = {
    "attribute": "<rdf:Description {s} rdf:about='' dc:subject='sea' dc:format='f'/>",
    "attributes": "<rdf:Description {s} lr:hierarchicalSubject='a|sea' dc:subject='sea'>"
    "</rdf:Description>",
    "plain": "<rdf:Description {s}><dc:subject>sea</dc:subject></rdf:Description>",
    "empty list": "<rdf:Description {s}><dc:subject><rdf:Bag/></dc:subject></rdf:Description>",
    "empty lists": "<rdf:Description {s}><dc:subject/><lr:hierarchicalSubject/></rdf:Description>",
    "open empty list": "<rdf:Description {s}><dc:subject><rdf:Bag>\n</rdf:Bag></dc:subject>"
    "</rdf:Description>",
    "sequence": "<rdf:Description {s}>\r\n <dc:subject>\r\n  <rdf:Seq>\r\n   <rdf:li>sea</rdf:li>"
    "\r\n   <rdf:li>sky</rdf:li>\r\n  </rdf:Seq>\r\n </dc:subject></rdf:Description>",
    "qualified": "<rdf:Description {s}><dc:subject><rdf:Bag><rdf:li rdf:parseType='Resource'>"
    "<rdf:value>sea</rdf:value><a>b</a></rdf:li></rdf:Bag></dc:subject></rdf:Description>",
    "value": "<rdf:Description {s}><dc:subject rdf:parseType='Resource'><rdf:value>sea</rdf:value>"
    "</dc:subject></rdf:Description>",
    "inner": "<rdf:Description {s}><z:part xmlns:z='z'><rdf:Description><dc:subject>no</dc:subject>"
    "</rdf:Description></z:part></rdf:Description>",
    "typed": "<z:Photo xmlns:z='z' {s}><dc:subject>sea</dc:subject></z:Photo>",
    "several": "<rdf:Description rdf:about='u' {s}/><rdf:Description rdf:about='u' {s}>"
    "<!-- c --><dc:subject><rdf:Bag><rdf:li>sea</rdf:li><!-- c --></rdf:Bag></dc:subject>"
    "<?p i?><dc:title>a&#xD;b &amp; ü</dc:title></rdf:Description>",
    "nothing": "",
}
ROOTS = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF {r}>{f}</rdf:RDF></x:xmpmeta>",
    "<x:xml_doc xmlns:x='adobe:ns:meta/'>\n<rdf:RDF {r}>\n{f}\n</rdf:RDF>\n</x:xml_doc>",
    "<rdf:RDF {r}>{f}</rdf:RDF>",
    "<?xpacket begin='' id=''?><x:xapmeta xmlns:x='adobe:ns:meta/'><rdf:RDF {r}>{f}</rdf:RDF>"
    "</x:xapmeta>\n" + 40 * " " + "\n<?xpacket end='w'?>",
)
CODECS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")
JUNK = ("", "\n", "\0\0\0\0", "\0\0\0\0junk", " \n\0")


def spelt(form: str, root: str, codec: str, before: str = "", behind: str = "") -> bytes:
    text = root.format(r=RDF, f=FORMS[form].format(s=SPACES))
    if codec == "latin-1":
        text = f'<?xml version="1.0" encoding="ISO-8859-1"?>{text}'
    if codec in ("utf-8-sig", "utf-16", "utf-32"):
        return (text + behind).encode(codec)
    return (before + text + behind).encode(codec)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
LABELS = st.lists(TEXT | st.sampled_from(["sea", "a", "auto", "sky", "ü", "a|sea"]), max_size=4)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(sorted(FORMS)),
    root=st.sampled_from(ROOTS),
    codec=st.sampled_from(CODECS),
    before=st.sampled_from(("", "\n", "\ufeff")),
    behind=st.sampled_from(JUNK),
    first=LABELS,
    second=LABELS,
)
def test_whatever_the_sidecar_labels_are_added_and_taken_back_to_the_byte(
    tmp_path, form, root, codec, before, behind, first, second
):
    if codec == "latin-1":
        before = before.replace("\ufeff", "")
    original = spelt(form, root, codec, before, behind)
    photo, side = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
    if not photo.exists():
        write(photo)
    side.write_bytes(original)
    known = set(tags(photo))
    assert known <= {("sea",), ("sky",), ("a", "sea")}
    for labels in (first, second, second):
        before_writing = side.read_bytes()
        changes = label(photo, *labels)
        assert set(tags(photo)) == known
        assert bool(changes.changed) == (side.read_bytes() != before_writing)
    assert changes == Changes()
    found = lists(side)
    for wanted in (" ".join(text.split()) for text in second):
        if wanted.isprintable() and wanted and "|" not in wanted:
            assert f"auto|{wanted}" in found["lr:hierarchicalSubject"]
    label(photo)
    assert side.read_bytes() == original


def test_items_are_added_in_the_spelling_of_the_file(tmp_path):
    packet = Packet(spelt("sequence", ROOTS[0], "utf-8"))
    text = packet_labels.with_labels(packet, ["dog"], "auto").text
    assert "<rdf:li>sky</rdf:li>\r\n   <rdf:li>dog</rdf:li>\r\n  </rdf:Seq>" in text
    other = packet.text.replace("rdf:", "r:").replace("xmlns:rdf", "xmlns:r")
    text = packet_labels.with_labels(Packet(other.encode()), ["dog"], "auto").text
    assert "<r:li>dog</r:li>" in text
    assert [value.text for value in Packet(text.encode()).values("dc:subject")] == [
        *("sea", "sky", "dog")
    ]


def test_damaged_letters_are_kept(tmp_path):
    photo, side = write(tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    original = xmp(dc_subject=["caf\xe9", "x&#1;y"]).replace("\xe9".encode(), b"\xe9")
    side.write_bytes(original)
    assert tags(photo) == [("café",), ("xy",)]
    label(photo, "dog")
    label(photo)
    assert side.read_bytes() == original


def test_exempi_reads_it_back(tmp_path):
    """Adobe's own toolkit, where it is installed."""
    try:
        from libxmp import XMPMeta
    except Exception:
        pytest.skip("exempi and python-xmp-toolkit are not installed")
    meta = XMPMeta()
    text = packet_labels.with_labels(Packet(THEIRS), ["dog"], "auto").text
    meta.parse_from_str(text)
    count = meta.count_array_items(NAMESPACES["dc"], "subject")
    items = [meta.get_array_item(NAMESPACES["dc"], "subject", i + 1) for i in range(count)]
    assert items == ["Rome", "beach", "dog"]


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (b"", r"not XMP \("),
        (THEIRS[:-60].replace(b"urn:tagnet:xmp#", b"urn:x"), r"not XMP \("),
        (b"<a/>", r"not XMP \(no rdf:RDF\)"),
        (b'<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>', r"not XMP \(entities are forbidden"),
    ],
)
def test_a_sidecar_that_is_no_xmp_is_left_alone(tmp_path, packet, line):
    photo, side = write(tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    side.write_bytes(packet)
    with pytest.raises(InputError, match=f"a.jpg.xmp: {line}") as caught:
        label(photo, "dog")
    assert len(str(caught.value).splitlines()) == 1
    assert label(photo) == Changes()  # nothing of ours is in it
    assert side.read_bytes() == packet


# --- Files ------------------------------------------------------------------------------------


def test_a_sidecar_without_labels_of_ours_is_not_written(tmp_path):
    photo, side = write(tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    side.write_bytes(THEIRS)
    os.utime(side, (1, 1))
    assert label(photo) == Changes()
    assert side.stat().st_mtime == 1


def test_mode_is_kept_and_a_link_followed(tmp_path):
    photo, side = write(tmp_path / "a.jpg"), tmp_path / "a.jpg.xmp"
    store = tmp_path / "store"
    store.mkdir()
    (store / "1").write_bytes(THEIRS)
    (store / "1").chmod(0o600)
    side.symlink_to(store / "1")
    label(photo, "dog")
    assert side.is_symlink()
    assert b"dog" in (store / "1").read_bytes()
    assert (store / "1").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("locked", ["file", "link", "folder"])
def test_what_is_locked_is_told_and_left_alone(tmp_path, locked):
    """A file also to root and to the owner of its folder, whom the system would let."""
    folder = tmp_path / "photos"
    photo, side = write(folder / "a.jpg"), folder / "a.jpg.xmp"
    store = tmp_path / "1"
    (store if locked == "link" else side).write_bytes(THEIRS)
    if locked == "link":
        side.symlink_to(store)
    place = {"file": side, "link": store, "folder": folder}[locked]
    place.chmod(0o500 if locked == "folder" else 0o400)
    if locked == "folder" and os.access(folder, os.W_OK):
        pytest.skip("this user may write to any folder")
    try:
        with pytest.raises(InputError, match="cannot be written .*is read-only, mode 0[45]00"):
            label(photo, "dog")
        assert side.read_bytes() == THEIRS
    finally:
        place.chmod(0o700)
