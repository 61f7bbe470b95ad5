"""Says that the model in use is the one that comes with tagnet."""

from collections.abc import Sequence
from pathlib import Path

from tagnet.settings import SHIPPED_MODEL
from tagnet.system import console


def say_shipped(model: Path, labels: Sequence[str]) -> None:
    """Prints a line if `model` is the shipped one.

    Args:
        model: as it was given.
        labels: those that it knows.
    """
    if str(model) == SHIPPED_MODEL:
        console.say(
            f"model: {model}, which comes with tagnet and knows "
            f"{console.counted(len(labels), 'label')}; --model=RUN takes another"
        )
