"""Records: what is written is what is read, and damage is named."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tagnet import records
from tagnet.files import InputError

PHI = np.random.default_rng(0).random((10, 3)).astype(np.float32)
TAGS = [[1, 4], [], [0]] + [[2]] * 7
LABELS = [[0]] * 9 + [[1, 2]]
IDS = [f"image-{row}" for row in range(10)]


def write(directory: Path) -> int:
    return records.write_images(directory, IDS, [PHI[:4], PHI[4:]], TAGS, LABELS, feature_dim=3)


def test_images_round_trip(tmp_path):
    assert write(tmp_path) == records.MIN_SHARDS
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "images-00000-of-00004.tfrecord"
    batches = [batch for _, batch in records.read_all_images(tmp_path, 10, 3)]
    joined = {name: [row for batch in batches for row in batch[name]] for name in batches[0]}
    assert [image_id.numpy().decode() for image_id in joined["image_id"]] == IDS
    assert [tags.numpy().tolist() for tags in joined["tag_ids"]] == TAGS
    assert [labels.numpy().tolist() for labels in joined["label_ids"]] == LABELS
    np.testing.assert_array_equal(
        records.read_features(tmp_path, 10, 3), PHI.astype(np.float16), strict=True
    )


def test_an_image_is_one_example_of_the_published_fields(tmp_path):
    write(tmp_path)
    path = tmp_path / "images-00000-of-00004.tfrecord"
    serialised = next(iter(tf.data.TFRecordDataset(str(path)))).numpy()
    fields = tf.train.Example.FromString(serialised).features.feature
    assert set(fields) == {"image_id", "row", "phi", "tag_ids", "label_ids"}
    assert np.frombuffer(fields["phi"].bytes_list.value[0], "<f2").tolist() == pytest.approx(
        PHI[0].astype(np.float16).tolist()
    )


def test_neighbourhoods_round_trip(tmp_path):
    rows, neighbours = np.array([3, 7]), np.array([[1, 2], [0, 9]])
    distances = np.array([[0.25, 0.5], [0, 1]], np.float32)
    records.write_neighbourhoods(tmp_path, "test", rows, neighbours, distances)
    (batch,) = records.read_neighbourhoods(tmp_path, "test", 2)
    np.testing.assert_array_equal(batch["row"], rows)
    np.testing.assert_array_equal(batch["neighbours"], neighbours)
    np.testing.assert_array_equal(batch["distances"], distances)


def test_writing_again_leaves_no_shard_of_before(tmp_path):
    stale = tmp_path / "images-00000-of-00009.tfrecord"
    stale.touch()
    write(tmp_path)
    assert not stale.exists()


def test_a_missing_shard_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "images-00002-of-00004.tfrecord").unlink()
    with pytest.raises(InputError, match=r"the shard images-00002-of-00004.tfrecord is missing"):
        records.read_features(tmp_path, 10, 3)


def test_no_shards_at_all(tmp_path):
    with pytest.raises(InputError, match=r"no images-\*.tfrecord here; was the data set prepared"):
        records.read_features(tmp_path, 10, 3)


@pytest.mark.parametrize("keep", [1, 20, 100])
def test_a_truncated_shard_is_named(tmp_path, keep):
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    path.write_bytes(path.read_bytes()[:-keep])
    with pytest.raises(InputError, match=re.escape(str(path)) + r": damaged at or after record 0"):
        records.read_features(tmp_path, 10, 3)


def test_a_record_without_its_fields_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(InputError, match=r"damaged at or after record 0 .*prepare the data again"):
        records.read_features(tmp_path, 10, 3)


def test_features_of_another_width(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match=r"damaged at or after record 0"):
        records.read_features(tmp_path, 10, 1)


@pytest.mark.parametrize(("promised", "received"), [(9, 10), (11, 10)])
def test_another_number_of_images_than_promised(tmp_path, promised, received):
    write(tmp_path)
    with pytest.raises(InputError, match=f"promises {promised} images, the shards hold {received}"):
        records.read_features(tmp_path, promised, 3)


def test_rows_out_of_order(tmp_path):
    write(tmp_path)
    first, second = (tmp_path / f"images-0000{shard}-of-00004.tfrecord" for shard in (0, 1))
    second.write_bytes(first.read_bytes())
    with pytest.raises(InputError, match="rows must run from 0 in order; after row 1 came 0"):
        records.read_features(tmp_path, 10, 3)
