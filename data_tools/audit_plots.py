"""Plots of an audit: how tags, labels and neighbours are distributed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tagnet.data.dataset import PreparedDataset
from tagnet.system.files import atomic_write

FILES = ("tags.png", "labels.png", "in_degrees.png")


def plot(data: PreparedDataset, in_degrees: Mapping[str, np.ndarray], folder: Path) -> None:
    """Writes `FILES` into `folder`.

    Args:
        data: the prepared directory.
        in_degrees: for each `encoding-pool` how many images each is a neighbour of.
        folder: created if it does not exist.
    """
    figures = dict(zip(FILES, (Figure(layout="constrained") for _ in FILES), strict=True))
    axes = {name: figure.add_subplot() for name, figure in figures.items()}
    carriers = np.bincount(data.tags.ids, minlength=len(data.vocabulary))
    _ranked(axes["tags.png"], carriers, None)
    axes["tags.png"].set(xlabel="rank of the tag", ylabel="images that carry it")
    order = np.argsort(-data.labels.sum(axis=0), kind="stable")
    axes["labels.png"].barh(np.arange(len(order)), data.labels.sum(axis=0)[order])
    axes["labels.png"].set(xlabel="images that have the label", xscale="log")
    axes["labels.png"].set_yticks(np.arange(len(order)), np.array(data.label_names)[order])
    axes["labels.png"].invert_yaxis()
    figures["labels.png"].set_figheight(1.5 + 0.18 * len(order))
    for name, counts in in_degrees.items():
        _ranked(axes["in_degrees.png"], counts, name)
    axes["in_degrees.png"].set(xlabel="rank of the image", ylabel="images it is a neighbour of")
    if in_degrees:
        axes["in_degrees.png"].legend()
    for name, figure in figures.items():
        with atomic_write(folder / name) as temporary:
            figure.savefig(temporary, dpi=120)


def _ranked(axes: Axes, counts: np.ndarray, label: str | None) -> None:
    """Draws counts, largest first, both axes logarithmic; zeros cannot be shown."""
    shown = np.sort(counts[counts > 0])[::-1]
    axes.loglog(np.arange(1, len(shown) + 1), shown, label=label)
