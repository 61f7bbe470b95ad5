"""XMP sidecars: automatic labels, kept apart from a person's keywords.

A label becomes a keyword of `dc:subject`, unless a person gave it already, and `PREFIX|label` of
`lr:hierarchicalSubject`; also of `digiKam:TagsList` and the like where they are. A sidecar that is
there is added to, and nothing of the photo is repeated in it. A new one, `photo.jpg.xmp`, starts
from the photo's own XMP, since other programs read a sidecar in place of it.

Removing labels is the inverse, see `packet_labels`; what was created for them alone is deleted. The
photo itself is not touched, and neither is a sidecar without labels of ours.
"""

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.annotation import packet_labels
from experiments.annotation.extended_xmp import whole_packet
from tagnet.errors import CannotWrite, InputError
from tagnet.photos.added import VERSION, Added, Keyword
from tagnet.photos.folders import Photograph
from tagnet.photos.keywords import embedded_keywords
from tagnet.photos.metadata import read_metadata
from tagnet.photos.xmp import EMPTY, NAMESPACES, Packet
from tagnet.system.files import atomic_write, writing

_CODECS = ("ascii", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_MARKS = tuple(NAMESPACES["tagnet"].encode(codec) for codec in _CODECS)


@dataclass
class Changes:
    """Which sidecars were made, changed and deleted."""

    made: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)
    deleted: list[Path] = field(default_factory=list)

    def add(self, other: "Changes") -> None:
        """Adds those of another photo."""
        self.made += other.made
        self.changed += other.changed
        self.deleted += other.deleted


def sidecar_of(photograph: Photograph) -> Path:
    """Where a photo's labels are written: the sidecar that is there, or else `photo.jpg.xmp`.

    A sidecar that other photos share, as the `photo.xmp` of `photo.jpg` and `photo.png`, gets none.
    """
    own = photograph.sidecars[: -1 if photograph.is_shared else None]
    path = photograph.path
    return own[0] if own else path.with_name(f"{path.name}.xmp")


def write_labels(photograph: Photograph, labels: Sequence[str], prefix: str) -> Changes:
    """Writes labels into a photo's sidecar, replacing those written earlier.

    Args:
        photograph: its file and sidecars.
        labels: the labels; none takes back what was written earlier.
        prefix: the first level of the hierarchical keywords.

    Returns:
        The sidecars that were made, changed and deleted.

    Raises:
        InputError: the sidecar that is there is not XMP, or cannot be written.
    """
    target = sidecar_of(photograph)
    before: dict[Path, bytes] = {}
    after: dict[Path, Packet | None] = {}  # None: to be deleted
    for path in dict.fromkeys((*photograph.sidecars, target)):
        if not os.path.lexists(path):
            continue
        contents = _read(path)
        if labels or any(mark in contents for mark in _MARKS):
            before[path] = contents
            after[path] = _without_labels(Packet(contents, path))
    if labels:
        shared = photograph.sidecars[-1] if photograph.is_shared else None
        own = [path for path, packet in after.items() if packet is not None and path != shared]
        target = own[0] if own else target
        base = after.get(target)
        is_new = base is None
        embedded, _ = embedded_keywords(photograph)
        if base is None:
            base = _new(photograph, after.get(shared) if shared is not None else None, embedded)
        after[target] = packet_labels.with_labels(base, labels, prefix, is_new, embedded)
    changes = Changes()
    for path, packet in after.items():
        if packet is None:
            _delete(path)
            changes.deleted.append(path)
        elif packet.contents != before.get(path):
            _write(path, packet.contents)
            (changes.changed if path in before else changes.made).append(path)
    return changes


def _without_labels(packet: Packet) -> Packet | None:
    """A sidecar's packet without labels; None where it was made for labels and has nothing else."""
    stripped = packet_labels.without_labels(packet)
    created = packet.values(packet_labels.CREATED)
    if created and created[0].text == packet_labels.digest(stripped):
        return None
    # Version 0.2 and earlier did not record what they created.
    is_ours = created or (Added(packet) and not packet.values(VERSION))
    return None if is_ours and packet_labels.is_empty(stripped) else stripped


def _new(photograph: Photograph, shared: Packet | None, embedded: Sequence[Keyword]) -> Packet:
    """A sidecar without labels: what other programs knew of the photo without it."""
    if shared is not None:
        return shared.as_new_file()
    packet = Packet(EMPTY.encode())
    with suppress(OSError):
        metadata = read_metadata(photograph.path)
        for contents in metadata.xmp:
            with suppress(InputError):
                packet = packet_labels.without_labels(whole_packet(contents, metadata.extended))
                break
    return packet_labels.with_keywords(packet, embedded)


# --- Files ------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _delete(path: Path) -> None:
    _require_writable(path)
    with writing(path):
        path.unlink()


def _write(path: Path, contents: bytes) -> None:
    """Writes a sidecar: through a link, and with the mode and the owner that it had."""
    path = path.resolve()
    _require_writable(path)
    with writing(path), atomic_write(path) as temporary:
        temporary.write_bytes(contents)
        if path.exists():
            owner = path.stat()
            shutil.copystat(path, temporary)
            os.utime(temporary)
            if hasattr(os, "chown"):  # not on Windows
                with suppress(PermissionError):  # only root may give files away
                    os.chown(temporary, owner.st_uid, owner.st_gid)


def _require_writable(path: Path) -> None:
    """Respects a file's lock, which the system lets root and the folder's owner step over."""
    for place, what in ((path, "file"), (path.parent, "folder")):
        if not place.exists():
            continue
        mode = place.stat().st_mode
        is_locked = place == path and not mode & stat.S_IWUSR
        if is_locked or not os.access(place, os.W_OK):
            remedy = f"`chmod u+w {place}` unlocks it"
            raise CannotWrite(
                f"{path}: cannot be written (its {what} is read-only, "
                f"mode {stat.S_IMODE(mode):04o}); left as it is; {remedy}"
            )
