"""What a figure was measured on."""

import datetime
import os
import platform

from tagnet.system.runtime import version_of


def described(*packages: str) -> str:
    """Date, processors, Python, the versions of `packages` and the load, in one line."""
    versions = [f"{name} {version_of(name)}" for name in packages]
    return (
        f"{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{', '.join([f'Python {platform.python_version()}', *versions])}; "
        f"load {os.getloadavg()[0]:.1f}"
    )
