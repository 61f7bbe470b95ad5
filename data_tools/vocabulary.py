"""The stage that decides which tags and labels have ids, and in what order."""

from pathlib import Path
from typing import Any

import pandas as pd

from tagnet.files import write_text
from tagnet.tags import Vocabulary


def write_vocabulary(
    directory: Path, manifest: pd.DataFrame, size: int, min_images: int
) -> dict[str, Any]:
    """Writes `vocabulary.txt` (the `size` most frequent tags) and `labels.txt` (alphabetical).

    Args:
        directory: the prepared directory.
        manifest: the images.
        size: τ.
        min_images: a tag that fewer images carry stays out.

    Returns:
        How many tags and labels there are, and how many images none of the tags is known of.
    """
    vocabulary = Vocabulary.most_frequent(manifest["tags"], size, min_images)
    vocabulary.save(directory / "vocabulary.txt")
    labels = sorted({label for labels in manifest["labels"] for label in labels})
    write_text(directory / "labels.txt", "".join(f"{label}\n" for label in labels))
    untagged = int((vocabulary.encode_all(manifest["tags"]).lengths == 0).sum())
    return {"tags": len(vocabulary), "labels": len(labels), "images_without_tags": untagged}
