"""XMP sidecars: what is added, what stays, what is taken back, and who can read it."""

from pathlib import Path

import pytest
from helpers.photographs import NAMESPACES, write, xmp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.annotation.sidecars import sidecar_of, with_labels, write_labels
from tagnet.errors import InputError
from tagnet.photos.keywords import read_keywords
from tagnet.photos.library import Photograph

# What a person wrote: keywords, a hierarchy, a rating that is none of our business.
THEIRS = xmp(dc_subject=["Rome", "beach"], lr_hierarchicalSubject=["places|Rome"]).replace(
    b'<rdf:Description rdf:about=""',
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"',
)


def keywords(packet: bytes, folder: Path) -> list[tuple[str, ...]]:
    """What the reader of keywords, which knows digiKam's and Lightroom's ways, finds in it."""
    photo = write(folder / "a.jpg")
    side = sidecar_of(photo)
    side.write_bytes(packet)
    found, damaged = read_keywords(Photograph("a.jpg", photo, (side,)))
    assert damaged == []
    return found


def test_a_new_sidecar_has_the_labels_twice(tmp_path):
    packet = with_labels(None, ["beach", "sea & sky"], "auto", "new")
    assert keywords(packet, tmp_path) == [
        *[("beach",), ("sea & sky",)],
        *[("auto", "beach"), ("auto", "sea & sky")],
    ]


def test_a_persons_keywords_stay_and_the_rest_too(tmp_path):
    packet = with_labels(THEIRS, ["beach", "dog"], "auto", "theirs")
    found = keywords(packet, tmp_path)
    assert found[:3] == [("Rome",), ("beach",), ("dog",)]
    # A flat keyword is repeated for programs that read hierarchies alone.
    assert found[3:] == [("places", "Rome"), ("beach",), ("auto", "beach"), ("auto", "dog")]
    assert b'xmp:Rating="4"' in packet
    assert b'xmlns:lr="http://ns.adobe.com/lightroom/1.0/"' in packet


def test_new_labels_take_the_place_of_old_ones_and_all_can_be_taken_back(tmp_path):
    """`beach` is the person's own: it stays whatever happens to ours."""
    once = with_labels(THEIRS, ["beach", "dog"], "auto", "a")
    again = with_labels(once, ["cat"], "auto", "a")
    assert keywords(again, tmp_path) == [
        *[("Rome",), ("beach",), ("cat",)],
        *[("places", "Rome"), ("beach",), ("auto", "cat")],
    ]
    back = with_labels(again, [], "auto", "a")
    assert keywords(back, tmp_path) == keywords(THEIRS, tmp_path)
    assert b"Added" not in back


def test_a_persons_keyword_under_the_prefix_stays(tmp_path):
    mine = xmp(lr_hierarchicalSubject=["auto|tram", "auto|dog"])
    after = with_labels(mine, ["dog", "cat"], "auto", "a")
    assert keywords(after, tmp_path)[-3:] == [("auto", "tram"), ("auto", "dog"), ("auto", "cat")]
    back = with_labels(after, [], "other", "a")
    assert keywords(back, tmp_path) == keywords(mine, tmp_path)


def test_labels_are_taken_back_after_another_program_copied_them(tmp_path):
    """digiKam repeats a hierarchy in a list of its own; under `pets` a person put `dog` there."""
    after = with_labels(None, ["dog", "cat"], "auto", "a")
    copied = b"<digiKam:TagsList><rdf:Seq><rdf:li>auto/dog</rdf:li><rdf:li>auto/cat</rdf:li>"
    copied += b"<rdf:li>pets/dog</rdf:li></rdf:Seq></digiKam:TagsList></rdf:Description>"
    uri = f'<x:xmpmeta xmlns:digiKam="{NAMESPACES["digiKam"]}" '.encode()
    after = after.replace(b"</rdf:Description>", copied).replace(b"<x:xmpmeta ", uri)
    assert keywords(with_labels(after, [], "auto", "a"), tmp_path) == [("dog",), ("pets", "dog")]


def test_keywords_in_the_photograph_are_repeated_and_taken_back(tmp_path):
    photo = write(tmp_path / "a.jpg", THEIRS)
    before = photo.read_bytes()
    write_labels(photo, ["dog"], "auto")
    told = keywords(sidecar_of(photo).read_bytes(), tmp_path / "other")
    assert set(told) == {
        *[("Rome",), ("beach",), ("dog",)],
        *[("places", "Rome"), ("auto", "dog")],
    }
    write_labels(photo, [], "auto")
    assert keywords(sidecar_of(photo).read_bytes(), tmp_path / "other") == []
    assert photo.read_bytes() == before


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
WORDS = st.lists(
    st.from_regex(r"[a-c]{1,2}(\|[a-c]{1,2})?", fullmatch=True), max_size=4, unique=True
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flat=WORDS, deep=WORDS, first=st.lists(TEXT, max_size=4), second=st.lists(TEXT, max_size=4))
def test_whatever_is_written_a_persons_keywords_stay_and_ours_go(
    tmp_path, flat, deep, first, second
):
    theirs = xmp(dc_subject=flat, lr_hierarchicalSubject=deep)
    packet = with_labels(theirs, first, "auto", "a")
    packet = with_labels(packet, second, "auto", "a", own=[("of", "photo")] if second else ())
    assert set(keywords(theirs, tmp_path)) <= set(keywords(packet, tmp_path))
    assert keywords(with_labels(packet, [], "auto", "a"), tmp_path) == keywords(theirs, tmp_path)


def test_it_follows_the_rules_of_xmp():
    """ISO 16684-1: a packet wrapper, x:xmpmeta, rdf:about, dc:subject as a bag."""
    text = with_labels(None, ["beach"], "auto", "new").decode()
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert text.rstrip().endswith('<?xpacket end="w"?>')
    assert 'xmlns:x="adobe:ns:meta/"' in text.split("<rdf:RDF")[0]
    assert 'rdf:about=""' in text
    assert "<dc:subject><rdf:Bag><rdf:li>beach</rdf:li></rdf:Bag></dc:subject>" in text
    assert "<rdf:li>auto|beach</rdf:li>" in text


def test_exempi_reads_it_back(tmp_path):
    """Adobe's own toolkit, where it is installed."""
    try:
        from libxmp import XMPMeta
    except Exception:
        pytest.skip("exempi and python-xmp-toolkit are not installed")
    meta = XMPMeta()
    meta.parse_from_str(with_labels(THEIRS, ["dog"], "auto", "a").decode().lstrip("\ufeff"))
    count = meta.count_array_items(NAMESPACES["dc"], "subject")
    items = [meta.get_array_item(NAMESPACES["dc"], "subject", i + 1) for i in range(count)]
    assert items == ["Rome", "beach", "dog"]


def test_plain_values_become_a_bag(tmp_path):
    rdf = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    bare = f"<rdf:RDF {rdf}><rdf:Description xmlns:dc='{NAMESPACES['dc']}' dc:subject='sea'/>"
    packet = with_labels(f"{bare}</rdf:RDF>".encode(), ["dog"], "auto", "a")
    assert keywords(packet, tmp_path)[:2] == [("sea",), ("dog",)]
    empty = with_labels(f"<rdf:RDF {rdf}/>".encode(), ["dog"], "auto", "a")
    assert keywords(empty, tmp_path) == [("dog",), ("auto", "dog")]


def test_only_the_sidecar_is_written(tmp_path):
    photo = write(tmp_path / "a.jpg", THEIRS)
    before = photo.read_bytes()
    write_labels(photo, [], "auto")
    assert not sidecar_of(photo).exists()
    write_labels(photo, ["dog"], "auto")
    assert photo.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "a.jpg.xmp"}


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (b"", r"not XMP \("),
        (THEIRS[:-40], r"not XMP \("),
        (b"<a/>", r"not XMP \(no rdf:RDF\)"),
        (b'<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>', r"not XMP \("),
    ],
)
def test_a_sidecar_that_is_no_xmp_is_left_alone(tmp_path, packet, line):
    photo = write(tmp_path / "a.jpg")
    sidecar_of(photo).write_bytes(packet)
    with pytest.raises(InputError, match=f"a.jpg.xmp: {line}") as caught:
        write_labels(photo, ["dog"], "auto")
    assert len(str(caught.value).splitlines()) == 1
    assert sidecar_of(photo).read_bytes() == packet
