"""Writes the files that make the image shards a TensorFlow Datasets data set.

`tfds.builder_from_directory(DIR).as_dataset(split="images")` then reads them. Nothing
here needs tensorflow-datasets: the files are JSON and lists of names.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tagnet.data.records import shard_bounds, shard_paths
from tagnet.system.files import atomic_write, write_json

SPLIT = "images"  # all of them; train, validation and test are in splits/
TFDS_FILES = ("features.json", "dataset_info.json", "label_ids.labels.txt", "tag_ids.labels.txt")
CLASSES = "tensorflow_datasets.core.features."


def write_tfds_files(directory: Path, summary: Mapping[str, Any]) -> None:
    """Writes `TFDS_FILES` beside the image shards, the vocabulary and the labels.

    Args:
        directory: the prepared directory.
        summary: what `dataset.json` says: name, images, feature_dim, tags, labels.
    """
    write_json(
        directory / "features.json",
        {
            "pythonClassName": f"{CLASSES}features_dict.FeaturesDict",
            "featuresDict": {
                "features": {
                    "image_id": {"pythonClassName": f"{CLASSES}text_feature.Text", "text": {}},
                    "row": _tensor("scalar.Scalar", "int64", "none", []),
                    "phi": _tensor(
                        "tensor_feature.Tensor", "float16", "bytes", [summary["feature_dim"]]
                    ),
                    "tag_ids": _names(summary["tags"]),
                    "label_ids": _names(summary["labels"]),
                }
            },
        },
    )
    paths = [Path(path) for path in shard_paths(directory, SPLIT)]
    bounds = shard_bounds(summary["images"], len(paths))
    lengths = [last - first for first, last in zip(bounds, bounds[1:], strict=False)]
    write_json(
        directory / "dataset_info.json",
        {
            "name": re.sub(r"\W+", "_", summary["name"]).strip("_") or "images",
            "version": "1.0.0",
            "description": f"Images of {summary['name']}, prepared for tagnet, in row order.",
            "fileFormat": "tfrecord",
            "splits": [
                {
                    "name": SPLIT,
                    "shardLengths": [str(length) for length in lengths],
                    "numBytes": str(sum(path.stat().st_size for path in paths)),
                    "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                }
            ],
        },
    )
    # Names of a feature called x stand in x.labels.txt.
    for field, names in (("label_ids", "labels.txt"), ("tag_ids", "vocabulary.txt")):
        with atomic_write(directory / f"{field}.labels.txt") as temporary:
            shutil.copyfile(directory / names, temporary)


def _tensor(name: str, dtype: str, encoding: str, shape: Sequence[int]) -> dict[str, Any]:
    dimensions = {"dimensions": [str(size) for size in shape]} if shape else {}
    return {
        "pythonClassName": CLASSES + name,
        "tensor": {"dtype": dtype, "encoding": encoding, "shape": dimensions},
    }


def _names(number: int) -> dict[str, Any]:
    """A feature: a list, of any length, of class numbers below `number`."""
    return {
        "pythonClassName": f"{CLASSES}sequence_feature.Sequence",
        "sequence": {
            "feature": {
                "pythonClassName": f"{CLASSES}class_label_feature.ClassLabel",
                "classLabel": {"numClasses": str(number)},
            },
            "length": "-1",
        },
    }
