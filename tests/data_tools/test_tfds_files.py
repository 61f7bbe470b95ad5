"""TensorFlow Datasets opens the image shards of a prepared directory."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from tagnet.data.dataset import PreparedDataset


def test_tfds_reads_what_tagnet_reads(prepared: Path) -> None:
    data = PreparedDataset(prepared)
    builder = tfds.builder_from_directory(prepared)
    assert builder.info.name == "manifest"
    assert builder.info.splits["images"].num_examples == 60
    read_config = tfds.ReadConfig(interleave_cycle_length=1)  # keeps the order
    examples = list(builder.as_dataset(split="images", read_config=read_config).as_numpy_iterator())
    assert [example["row"] for example in examples] == list(range(60))
    for row, example in enumerate(examples):
        assert example["image_id"].decode() == data.image_ids[row]
        assert example["phi"].dtype == np.float16
        np.testing.assert_array_equal(example["phi"], data.features[row])
        np.testing.assert_array_equal(example["tag_ids"], data.tags[row])
        np.testing.assert_array_equal(example["label_ids"], np.flatnonzero(data.labels[row]))


def test_ids_have_names(prepared: Path) -> None:
    data = PreparedDataset(prepared)
    features = tfds.builder_from_directory(prepared).info.features
    assert tuple(features["label_ids"].feature.names) == data.label_names
    assert tuple(features["tag_ids"].feature.names) == data.vocabulary.words


def test_a_part_of_the_shards_can_be_asked_for(prepared: Path) -> None:
    part = tfds.builder_from_directory(prepared).as_dataset(split="images[50:]")
    assert sorted(example["row"] for example in part.as_numpy_iterator()) == list(range(50, 60))
