"""What digiKam reads of photos, without anybody at its window.

digiKam scans its collections as it starts, so it is started for each photo, with a home and a
database of its own: tags that are known from another photo change where it puts a flat keyword.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tagnet.errors import InputError

SECONDS = 60  # that a scan may take, at most
QUIET = 2  # seconds without a change in the database: the scan is done
CONFIG = """[Album Settings]
Scan At Start=true

[General Settings]
Version={version}
Show Splash=false

[Metadata Settings]
Use XMP Sidecar For Reading=true
"""
ROOT = "INSERT INTO AlbumRoots (status, type, identifier, specificPath) VALUES (0, 1, ?, '/')"
FIELDS = (
    """WITH RECURSIVE path(id, text) AS (
    SELECT id, name FROM Tags WHERE pid = 0 AND name != '_Digikam_Internal_Tags_' UNION ALL
    SELECT Tags.id, path.text || '/' || Tags.name FROM Tags JOIN path ON Tags.pid = path.id)
    SELECT path.text FROM path JOIN ImageTags ON tagid = path.id ORDER BY tagid""",
    "SELECT comment FROM ImageComments WHERE type = 3",  # the title
    "SELECT value FROM ImageCopyright WHERE property = 'copyrightNotice'",
    "SELECT rating FROM ImageInformation WHERE rating > 0",
)


def is_installed() -> bool:
    """Whether digiKam is there, and a screen that needs no display."""
    return all(map(shutil.which, ("digikam", "Xvfb")))


def read(folders: list[Path]) -> list[list[str]]:
    """Reads folders with one photo each.

    Returns:
        For each photo its tags, as `places/Rome`, title, rights and rating.

    Raises:
        InputError: digiKam did not end a scan in `SECONDS`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, _screen() as display:
        empty = Path(place, "empty")
        empty.mkdir(mode=0o700)
        (empty / "digikamrc").write_text(CONFIG.format(version=_version()), encoding="utf-8")
        with _running(empty, display):
            _wait(lambda: "DBVersion" in dict(_rows(empty, "SELECT * FROM Settings")))
        homes = [Path(place, str(number)) for number in range(len(folders))]
        return [
            _scanned(folder, shutil.copytree(empty, home), display)
            for folder, home in zip(folders, homes, strict=True)
        ]


def _scanned(folder: Path, home: Path, display: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(home / "digikam4.db")) as database, database:
        database.execute(ROOT, [f"volumeid:?path={folder}"])

    def told() -> list[str]:
        return [str(value) for field in FIELDS for (value,) in _rows(home, field)]

    with _running(home, display):
        _wait(lambda: bool(_rows(home, "SELECT * FROM ImageInformation")))
        last = None
        while (now := told()) != last:
            last = now
            time.sleep(QUIET)
    return told()


def _rows(home: Path, query: str) -> list[Any]:
    """The rows that a query gives; none while the tables are being made."""
    where = f"file:{home}/digikam4.db?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(where, uri=True)) as database:
            return database.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def _version() -> str:
    """What wrote the configuration; without it digiKam asks a newcomer's questions."""
    command = ["digikam", "--version", "-platform", "offscreen"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.split()[-1]


@contextlib.contextmanager
def _screen() -> Iterator[str]:
    """The name of an unseen screen; Qt's `offscreen` lacks the OpenGL that digiKam needs."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x1024x24"]
    with _started(command, dict(os.environ), pass_fds=[write_end]):
        os.close(write_end)
        with open(read_end, encoding="ascii") as file:
            yield f":{file.readline().strip()}"


@contextlib.contextmanager
def _running(home: Path, display: str) -> Iterator[None]:
    """digiKam, with all its files in `home`, until the end of the block."""
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    environment = os.environ | dict.fromkeys(names, str(home)) | {"DISPLAY": display}
    # The browser in it, which shows a page of welcome, starts as root only if it is told so.
    environment |= {"QT_QPA_PLATFORM": "xcb", "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox"}
    with _started(["digikam", "--database-directory", str(home)], environment):
        yield


@contextlib.contextmanager
def _started(
    command: list[str], environment: dict[str, str], pass_fds: list[int] | None = None
) -> Iterator[None]:
    """A program and its children, until the end of the block."""
    process = subprocess.Popen(
        command,
        env=environment,
        pass_fds=pass_fds or [],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait(is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not is_done():
        if time.monotonic() > until:
            raise InputError(f"digiKam did not read the photos in {SECONDS} s")
        time.sleep(0.2)
