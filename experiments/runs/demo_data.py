"""The demo data set, prepared on first use; commands use it if --data is not given."""

import os
import subprocess
import sys
from pathlib import Path

import tagnet
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.system.console import is_quiet

SPLITS = 5  # as many as the paper has


def demo_data() -> Path:
    """The prepared directory; in $TAGNET_CACHE, or ~/.cache/tagnet.

    Raises:
        InputError: it could not be prepared; the reason has been printed.
    """
    cache = Path(os.environ.get("TAGNET_CACHE", Path.home() / ".cache" / "tagnet"))
    prepared = cache / f"demo-{tagnet.__version__}"
    if not _whole(prepared):
        command = [sys.executable, "-m", "data_tools.prepare", "--source=demo"]
        command += [f"--splits={SPLITS}", f"--out={prepared}", *["--quiet"] * is_quiet()]
        if status := subprocess.run(command).returncode:
            raise InputError(
                f"{prepared}: preparing the demo data set failed (exit status {status})"
            )
    return prepared


def _whole(prepared: Path) -> bool:
    """Whether the data set is complete, with all its splits."""
    try:
        return PreparedDataset(prepared).num_splits >= SPLITS
    except InputError:  # it is not there, or not whole
        return False
