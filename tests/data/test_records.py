"""Records: what is written is what is read, and damage is named."""

import re

import numpy as np
import pytest
import tensorflow as tf
from helpers.records import IDS, LABELS, PHI, TAGS, write

from tagnet.data import records
from tagnet.errors import InputError
from tagnet.system.checksums import sha256


def test_images_round_trip(tmp_path):
    assert write(tmp_path) == records.MIN_SHARDS
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "images-00000-of-00004.tfrecord"
    images = records.read_images(tmp_path, 10, 3)
    assert list(images.image_ids) == IDS
    for lists, ids, counts in (
        (TAGS, images.tag_ids, images.tag_counts),
        (LABELS, images.label_ids, images.label_counts),
    ):
        assert [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])] == lists
    np.testing.assert_array_equal(images.phi, PHI.astype(np.float16), strict=True)


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
        records.read_images(tmp_path, 10, 3)


def test_no_shards_at_all(tmp_path):
    with pytest.raises(InputError, match=r"no images-\*.tfrecord here; was the data set prepared"):
        records.read_images(tmp_path, 10, 3)


@pytest.mark.parametrize("keep", [1, 20, 100])
def test_a_truncated_shard_is_named(tmp_path, keep):
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    path.write_bytes(path.read_bytes()[:-keep])
    with pytest.raises(
        InputError,
        match=re.escape(str(path)) + r": damaged at or after record 0 \(cut off",
    ):
        records.read_images(tmp_path, 10, 3)


def test_a_shard_that_ends_in_the_length_of_a_record_is_named(tmp_path):
    """TensorFlow takes it for whole."""
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    data = path.read_bytes()
    path.write_bytes(data[: 16 + int.from_bytes(data[:8], "little") + 5])
    with pytest.raises(InputError, match=rf"{path}: must hold 3 images .* received 1"):
        records.read_images(tmp_path, 10, 3)


def test_an_empty_shard_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "images-00003-of-00004.tfrecord"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=rf"{path}: must hold 3 images .* received 0"):
        records.read_images(tmp_path, 10, 3)


def test_a_record_without_its_fields_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(tf.train.Example().SerializeToString())
    line = r"damaged at or after record 0 \(not an Example with the fields image_id, row, .*again"
    with pytest.raises(InputError, match=line):
        records.read_images(tmp_path, 10, 3)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-1], lambda whole: whole[:-5] + b"!" + whole[-4:]]
)
def test_a_damaged_neighbourhood_is_named(tmp_path, damage):
    near = np.arange(6).reshape(3, 2)
    records.write_neighbourhoods(tmp_path, "test", np.arange(3), near, near / 7)
    (path,) = tmp_path.glob("test-*")
    path.write_bytes(damage(path.read_bytes()))
    line = rf"{path}: damaged at or after record 0 .*; prepare the data again"
    with pytest.raises(InputError, match=line):
        list(records.read_neighbourhoods(tmp_path, "test", 2))


def test_neighbourhoods_with_fewer_neighbours_than_promised(tmp_path):
    near = np.arange(6).reshape(3, 2)
    records.write_neighbourhoods(tmp_path, "test", np.arange(3), near, near / 7)
    line = "damaged at or after record 0 .*neighbours.*; prepare the data again"
    with pytest.raises(InputError, match=line):
        list(records.read_neighbourhoods(tmp_path, "test", 3))


def test_features_of_another_width(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="phi must have 1 numbers .* received 3; prepare"):
        records.read_images(tmp_path, 10, 1)


@pytest.mark.parametrize(("promised", "of_shard"), [(9, (1, 2, "more")), (11, (2, 3, 2))])
def test_another_number_of_images_than_promised(tmp_path, promised, of_shard):
    write(tmp_path)
    shard, expected, received = of_shard
    line = (
        rf"images-0000{shard}-of-00004.tfrecord: must hold {expected} "
        rf"images \(see dataset.json\); received {received}"
    )
    with pytest.raises(InputError, match=line):
        records.read_images(tmp_path, promised, 3)


def test_rows_out_of_order(tmp_path):
    write(tmp_path)
    first, second = (tmp_path / f"images-0000{shard}-of-00004.tfrecord" for shard in (0, 2))
    second.write_bytes(first.read_bytes())
    with pytest.raises(InputError, match="in order; received row 0 instead of 5; prepare"):
        records.read_images(tmp_path, 10, 3)


@pytest.mark.parametrize("place", ["length", "image_id", "phi", "checksum"])
def test_a_changed_byte_is_found(tmp_path, place):
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    data = bytearray(path.read_bytes())
    second = 16 + int.from_bytes(data[:8], "little")
    length = int.from_bytes(data[second : second + 8], "little")
    inside = second + 12
    at = {
        "length": second,
        "image_id": data.index(b"image-3"),
        "phi": data.index(PHI[3].astype("<f2").tobytes()),
        "checksum": inside + length,
    }[place]
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{path}: damaged at or after record 0 \(cut off, or"):
        records.read_images(tmp_path, 10, 3)


def test_the_record_before_the_damage_is_counted_by_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "READ_BATCH", 1)
    write(tmp_path)
    path = tmp_path / "images-00001-of-00004.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged at or after record 2 "):
        records.read_images(tmp_path, 10, 3)


def test_a_shard_is_compared_with_its_checksum(tmp_path):
    write(tmp_path)
    sums = {path.name: sha256(path) for path in tmp_path.iterdir()}
    assert records.read_images(tmp_path, 10, 3, sums).image_ids == tuple(IDS)
    name = "images-00001-of-00004.tfrecord"
    with pytest.raises(InputError, match=f"{name}: checksum mismatch"):
        records.read_images(tmp_path, 10, 3, sums | {name: "0" * 64})


def test_images_in_many_batches_and_of_no_features(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "READ_BATCH", 2)
    write(tmp_path)
    blocks = list(records.image_blocks(tmp_path, 10, 3))
    assert [len(block.phi) for block in blocks] == [2, 2, 1, 2, 2, 1]
    np.testing.assert_array_equal(records.read_images(tmp_path, 10, 3).phi, PHI.astype(np.float16))
    nothing = np.empty([10, 0], np.float16)
    records.write_images(tmp_path, IDS, lambda a, b: [nothing[a:b]], TAGS, LABELS, feature_dim=0)
    images = records.read_images(tmp_path, 10, 0)
    assert (images.phi.shape, images.image_ids) == ((10, 0), tuple(IDS))


def test_lists_of_many_and_of_large_ids(tmp_path):
    tags = [list(range(0, 2**31, 2**24)), [], [2**31 - 1]]
    records.write_images(
        tmp_path, IDS[:3], lambda first, last: [PHI[first:last]], tags, [[]] * 3, feature_dim=3
    )
    images = records.read_images(tmp_path, 3, 3)
    assert images.tag_ids.tolist() == tags[0] + tags[2]
    assert images.tag_counts.tolist() == [128, 0, 1]
    assert images.label_ids.size == 0
