"""Tables on the device, the host or disk: the same batches and weights."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
from helpers.graphs import small
from helpers.tables import make_table

from data_tools.pipeline import prepare
from experiments import run as command
from tagnet.data import batches, cache, dataset, records
from tagnet.data.batches import BatchSettings, training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import gather_inputs, lookup_tables
from tagnet.errors import InputError
from tagnet.evaluation.scoring import Scorer
from tagnet.settings import Neighbourhood, ScoringSettings, TrainingSettings
from tagnet.system import console
from tagnet.system.files import mapped_array, write_blocks
from tagnet.training.loop import train

OTHERS = ["host", "mmap"]  # besides "device"
SETTINGS = TrainingSettings(learning_rate=1e-2, min_epochs=1, max_epochs=2, batch_size=8)
FAMILIES = [("v_only", None), ("ltwin", "id"), ("ltn_allvecs", "w2v"), ("ltwin_rnn", "w2v")]


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    """5 shards of 36 training records, shuffled in blocks of 10."""
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "MAX_SHARD_BYTES", 8 * 6 * 8)  # M 6, int64
        prepare(make_table(folder / "raw").settings(pools=("open", "train")), folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SHUFFLE_BLOCK", 10)
        yield folder / "data"


@pytest.fixture
def copy(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def stream(data, inputs, epochs, tables=None):
    settings = BatchSettings(1, "id", "train", Neighbourhood(2, 4), SETTINGS.batch_size, seed=3)
    return training_batches(data, settings, inputs, epochs, tables)


@pytest.mark.parametrize("feed", ["id", "w2v"])
@pytest.mark.parametrize("table", OTHERS)
def test_the_same_batches(many_shards, table, feed):
    """What is looked up by row numbers on the device comes with the batches here."""
    names = ["phi_x", "phi_z", "pi_x", "pi_z"]
    data = PreparedDataset(many_shards)
    on_device = lookup_tables(data.tables(feed))
    other = PreparedDataset(many_shards, table)
    theirs = stream(other, names, range(2), lookup_tables(other.tables(feed)))
    count = 0
    for (rows, labels), (given, labels_given) in zip(
        stream(data, ["row", "neighbours"], range(2)), theirs, strict=True
    ):
        expected = gather_inputs(names, rows, on_device)
        assert set(given) == set(names)
        for name in names:
            assert given[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(given[name], expected[name], err_msg=name)
        np.testing.assert_array_equal(labels_given, labels)
        count += len(labels)
    assert count == 2 * 36


def test_shards_and_blocks_are_in_another_order_in_every_epoch(many_shards):
    """Guards the test above: there is something to be mixed, and every image comes once."""
    data = PreparedDataset(many_shards)
    assert len(list(data.neighbourhood_directory(1, "id", "train").glob("train-*"))) == 5
    orders = [
        np.concatenate([x["row"] for x, _ in stream(data, ["row"], range(e, e + 1))])
        for e in range(2)
    ]
    rows = data.split(1)["train"].tolist()
    assert sorted(orders[0]) == sorted(orders[1]) == rows
    assert orders[0].tolist() not in (orders[1].tolist(), rows)
    assert set(orders[0][:10]) != set(orders[1][:10])


def trained(directory, table, arch, feed, out):
    """The weights after two epochs, and the scores of the test part by two ways to average."""
    data = PreparedDataset(directory, table)
    tables = data.tables(feed)
    core = small(
        arch,
        feed,
        feature_dim=tables.feature_dim,
        num_labels=len(data.label_names),
        m=2,
        tag_dim=tables.tag_dim,
    )
    keras.utils.set_random_seed(0)
    looks = lookup_tables(tables)
    in_step = table == "device"
    train(
        core,
        lookups=looks if in_step else None,
        batches=lambda inputs, epochs: stream(data, inputs, epochs, None if in_step else looks),
        num_images=36,
        validate=lambda: {"map_label": 0.5},
        settings=SETTINGS,
        directory=out,
        on_epoch=lambda epoch: None,
    )
    with np.load(out / "checkpoints" / "last.npz") as state:
        weights = {name: state[name] for name in state.files if name.startswith("model_")}
    part = data.part(1, "id", "train", "test", 4)
    scores = [Scorer(core, looks, ScoringSettings(2, exact))(part) for exact in (True, False)]
    return weights, np.stack(scores)


@pytest.mark.large
@pytest.mark.parametrize(("arch", "feed"), FAMILIES)
def test_the_same_weights_and_scores(many_shards, tmp_path, arch, feed):
    weights, scores = trained(many_shards, "device", arch, feed, tmp_path / "device")
    assert scores.std() > 0.01
    for table in OTHERS:
        same, same_scores = trained(many_shards, table, arch, feed, tmp_path / table)
        assert same.keys() == weights.keys()
        for name, weight in weights.items():
            np.testing.assert_allclose(same[name], weight, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(same_scores, scores, atol=1e-4)


def test_the_table_is_chosen_by_its_size(prepared, monkeypatch):
    needed = PreparedDataset(prepared).table_bytes
    assert needed == 60 * 8 * 2
    for available, table in ((2 * needed, "device"), (2 * needed - 1, "mmap")):
        monkeypatch.setattr(dataset, "available_memory", lambda room=available: room)
        assert PreparedDataset(prepared, None).placement == table
    assert PreparedDataset(prepared, "host").placement == "host"
    with pytest.raises(
        InputError, match="placement must be one of device, host, mmap; received 'x'"
    ):
        PreparedDataset(prepared, "x")


def test_a_container_s_limit_is_heeded(monkeypatch, tmp_path):
    """Less what it uses, but for what files have in memory and give back."""
    monkeypatch.setattr(dataset, "CONTAINER", tmp_path)
    assert dataset.available_memory() > 2**20
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert dataset.available_memory() == 548576
    (tmp_path / "memory.max").write_text("max\n")
    assert dataset.available_memory() > 2**20


def test_a_mapped_data_set_equals_the_one_that_is_read(copy):
    read, mapped = PreparedDataset(copy), PreparedDataset(copy, "mmap")
    np.testing.assert_array_equal(mapped.features, read.features)
    np.testing.assert_array_equal(mapped.encoded("w2v"), read.encoded("w2v"))
    np.testing.assert_array_equal(mapped.labels, read.labels)
    assert mapped.image_ids == read.image_ids
    assert [list(ids) for ids in mapped.tags] == [list(ids) for ids in read.tags]


def test_the_cache_is_written_once(copy):
    PreparedDataset(copy, "mmap").tables("w2v")
    before = {path.name: path.stat().st_mtime_ns for path in (copy / "cache").iterdir()}
    assert len(before) == 3
    PreparedDataset(copy, "mmap").tables("w2v")
    assert {path.name: path.stat().st_mtime_ns for path in (copy / "cache").iterdir()} == before


def test_a_cache_of_other_images_is_not_used(tmp_path):
    """Prepared again from other features; what was cached before is gone."""
    prepare(make_table(tmp_path / "one").settings(), tmp_path / "data")
    old = PreparedDataset(tmp_path / "data", "mmap")
    kept = old.features.copy()
    settings = make_table(tmp_path / "two", seed=1).settings()
    prepare(settings, tmp_path / "data")
    new = PreparedDataset(tmp_path / "data", "mmap")
    np.testing.assert_array_equal(new.features, PreparedDataset(tmp_path / "data").features)
    assert not np.array_equal(new.features, kept)
    assert len(list((tmp_path / "data" / "cache").glob("features-*.npy"))) == 1
    np.testing.assert_array_equal(old.features, kept)  # whoever has it mapped keeps it


def test_a_cache_is_not_made_from_another_shard(copy):
    """With checksums of its own and rows of the right numbers, as from another data set."""
    shards = sorted(copy.glob("images-*"))
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    line = f"{shards[1].name}: checksum mismatch .see checksums.sha256.; prepare the data"
    with pytest.raises(InputError, match=line):
        _ = PreparedDataset(copy, "mmap").features
    assert list((copy / "cache").iterdir()) == []


def test_a_cache_without_checksums(copy):
    (copy / "checksums.sha256").write_text("")
    with pytest.raises(InputError, match="checksums.sha256: does not name images-00000-of-00004"):
        _ = PreparedDataset(copy, "mmap").features


def test_a_cache_that_cannot_be_written(copy):
    (copy / "cache").write_text("in the way")
    with pytest.raises(
        InputError, match=r"cannot be written \(.*\); --placement=host needs no cache"
    ):
        _ = PreparedDataset(copy, "mmap").features


def test_only_what_a_dead_process_left_of_the_cache_is_removed(copy):
    """Another may be writing its own now."""
    old, new = (copy / "cache" / f".tmp-0123abc{digit}-features-0.npy" for digit in (0, 1))
    new.parent.mkdir()
    new.touch()
    old.touch()
    long_ago = old.stat().st_mtime - cache.ABANDONED - 1
    os.utime(old, (long_ago, long_ago))
    PreparedDataset(copy, "mmap").tables("id")
    assert (old.exists(), new.exists()) == (False, True)


def test_two_processes_may_write_the_cache_at_once(copy, monkeypatch):
    """The second writes all of it while the first is at work."""
    first = PreparedDataset(copy, "mmap")
    blocks = cache.image_blocks

    def meanwhile(*arguments):
        monkeypatch.setattr(cache, "image_blocks", blocks)
        PreparedDataset(copy, "mmap").tables("w2v")
        yield from blocks(*arguments)

    monkeypatch.setattr(cache, "image_blocks", meanwhile)
    np.testing.assert_array_equal(first.features, PreparedDataset(copy).features)
    assert len(list((copy / "cache").iterdir())) == 3


def test_features_are_not_held_while_they_are_cached(copy, monkeypatch):
    """Or a set larger than memory could not be."""
    held = []
    join = cache.join_images

    def joining(phi, blocks):
        held.extend(block.phi for block in blocks)
        return join(phi, blocks)

    monkeypatch.setattr(cache, "join_images", joining)
    _ = PreparedDataset(copy, "mmap").features
    assert held
    assert all(phi.nbytes == 0 and phi.base is None for phi in held)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
@pytest.mark.parametrize("name", ["features", "lists", "w2v"])
def test_a_cache_that_is_cut_off_is_written_again(copy, name, keep):
    PreparedDataset(copy, "mmap").tables("w2v")
    before = {path: path.read_bytes() for path in (copy / "cache").iterdir()}
    for path in (copy / "cache").glob(f"{name}-*"):
        path.write_bytes(before[path][:keep])
    PreparedDataset(copy, "mmap").tables("w2v")
    assert {path: path.read_bytes() for path in (copy / "cache").iterdir()} == before


def test_an_array_is_written_whole_or_not_at_all(tmp_path):
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    with pytest.raises(ValueError, match="expected 5 rows, got 4"):
        write_blocks(tmp_path / "a.npy", [5, 3], np.float16, [rows])
    assert list(tmp_path.iterdir()) == []
    write_blocks(tmp_path / "a.npy", [4, 3], np.float16, [rows[:1], rows[1:]])
    mapped = mapped_array(tmp_path / "a.npy", [4, 3], np.float16)
    np.testing.assert_array_equal(mapped, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)
    assert mapped.ctypes.data % 64 == 0  # so that TensorFlow shares it
    mapped[0] = 9
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)
    with pytest.raises(InputError, match=r"must hold float32 of shape \(4, 3\)"):
        mapped_array(tmp_path / "a.npy", [4, 3], np.float32)
    with pytest.raises(InputError, match="b.npy: cannot be read"):
        mapped_array(tmp_path / "b.npy", [4, 3], np.float32)


def test_a_mapped_file_may_be_larger_than_memory(tmp_path):
    """A file with a hole of 1 TiB in it."""
    shape = (2**36, 8)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f2", "fortran_order": False, "shape": shape}
        )
        file.truncate(file.tell() + 2**40)
    assert not mapped_array(tmp_path / "a.npy", shape, np.float16)[-1].any()


def execute(*flags):
    argv = ["run", "--arch=ltn", "--m=2", "--M=4", "--hidden=4", *flags]
    return console.execute(command.Options, command.main, command.USAGE, argv)


@pytest.mark.large
def test_the_table_changes_no_result(many_shards, tmp_path, capsys):
    flags = [f"--data={many_shards}", "--split=1", "--pool=train"]
    scores = []
    for table in ("device", "mmap"):
        given = [f"--placement={table}", f"--out={tmp_path / table}"]
        assert execute(*flags, "--max_epochs=1", *given) == 0
        assert f"features on {table}: 0.00 GB of features" in capsys.readouterr().out
        with np.load(tmp_path / table / "predictions.npz") as predictions:
            scores.append(predictions["scores"])
        config = json.loads((tmp_path / table / "config.json").read_text())
        assert "placement" not in config
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)


def test_the_table_is_a_known_word(prepared, tmp_path, capsys):
    flags = [f"--data={prepared}", f"--out={tmp_path / 'run'}"]
    assert execute(*flags, "--placement=x") == 2
    assert "must be one of" in capsys.readouterr().err
    argv = ["run", "--arch=knn_tags", *flags, "--placement=host"]
    assert console.execute(command.Options, command.main, command.USAGE, argv) == 2
    assert "has no effect on the baseline knn_tags" in capsys.readouterr().err
