"""The stage that assigns ids to tags and labels."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools.engines import Engine
from tagnet.data.tags import Vocabulary, count_tags
from tagnet.system.files import write_text

BLOCK = 2**14  # images whose tags are counted together


def write_vocabulary(
    directory: Path, manifest: pd.DataFrame, size: int, min_images: int, engine: Engine
) -> dict[str, Any]:
    """Writes `vocabulary.txt` (the `size` most frequent tags) and `labels.txt` (alphabetical).

    Args:
        directory: the prepared directory.
        manifest: the images.
        size: τ.
        min_images: a tag that fewer images carry stays out.
        engine: counts the tags, some images at a time.

    Returns:
        How many tags and labels there are, and how many images none of the tags is known of.
    """
    tags = list(manifest["tags"])
    counts: Counter[str] = Counter()
    blocks = (tags[first : first + BLOCK] for first in range(0, len(tags), BLOCK))
    for counted in engine.map(count_tags, blocks):
        counts.update(counted)
    # Of images without any tags the neighbours are found by features.
    vocabulary = Vocabulary.of_counts(counts, size, min_images) if counts else Vocabulary(())
    vocabulary.save(directory / "vocabulary.txt")
    labels = sorted({label for labels in manifest["labels"] for label in labels})
    write_text(directory / "labels.txt", "".join(f"{label}\n" for label in labels))
    untagged = int((vocabulary.encode_all(tags).lengths == 0).sum())
    return {"tags": len(vocabulary), "labels": len(labels), "images_without_tags": untagged}
