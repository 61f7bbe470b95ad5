"""Several workers: the weights of one, whatever shares out the batches and whoever is killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments import run
from experiments.runs import options
from tagnet.errors import InputError
from tagnet.models import dropout
from tagnet.models.architectures import ARCHITECTURES
from tagnet.system import console
from tagnet.training import replicas

ROOT = Path(__file__).parents[2]

# Trains a graph on one device and on several of one process; prints the steps, how far the weights
# are apart, how far the optimizer and the losses of the epochs, and how far training moved the
# weights. 36 images in batches of 7 leave one for the last.
COMPARE = """
import sys
from pathlib import Path

from tagnet.system.runtime import import_tensorflow

import_tensorflow()
from tagnet.training import replicas

count, arch, data, out, clip = sys.argv[1:]
workers = replicas.workers(int(count))

import numpy as np
from helpers.graphs import small
from tagnet.data.batches import training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import lookup_tables
from tagnet.models.architectures import VISUAL
from tagnet.settings import BatchSettings, Neighbourhood, TrainingSettings
from tagnet.training.loop import train

dataset = PreparedDataset(data, "host")
feed = None if arch in VISUAL else "id"
tables = dataset.tables(feed)
host = lookup_tables(tables)
images = len(dataset.split(0)["train"])
settings = TrainingSettings(
    learning_rate=1e-3, batch_size=7, min_epochs=9, max_epochs=9, clip_norm=float(clip) or None
)

def trained(workers, out):
    core = small(
        arch,
        feed,
        feature_dim=tables.feature_dim,
        num_labels=len(dataset.label_names),
        tag_dim=tables.tag_dim,
        m=2,
        dropout=0.5,
        l2=0.01,
    )
    begun = [variable.numpy() for variable in core.variables]
    history = train(
        core,
        lookups=None,
        batches=lambda inputs, epochs: training_batches(
            dataset,
            BatchSettings(0, "id", "open", Neighbourhood(2, 4), batch_size=7, seed=0),
            inputs,
            epochs,
            host,
        ),
        num_images=images,
        validate=lambda: {"map_label": 0.5},
        settings=settings,
        directory=Path(out),
        on_epoch=lambda epoch: None,
        workers=workers,
    )
    with np.load(Path(out) / "checkpoints" / "last.npz") as state:
        weights, others = (
            [state[name] for name in state.files if name.startswith(owner)]
            for owner in ("model_", "optimizer_")
        )
    pairs = [(a, b) for a, b in zip(weights, begun, strict=True) if a.dtype.kind == "f"]
    moved = max(float(np.abs(a - b).max()) for a, b in pairs)
    return weights, [*others, np.array([epoch["loss"] for epoch in history])], moved

(weights, others, _), one = trained(workers, out + "/n"), trained(None, out + "/1")
apart = max(float(np.abs(a - b).max()) for a, b in zip(weights, one[0], strict=True))
# Losses and squares of gradients may be hundreds, of which float32 knows fewer decimals.
relative = max(
    float((np.abs(a - b) / np.maximum(1, np.abs(b))).max())
    for a, b in zip(others, one[1], strict=True)
)
print(len(others[-1]) * -(-images // 7), apart, relative, one[2], images % 7)
"""


def apart(count, arch, data, out, clip=0.0):
    """How far weights, and by their size optimizer and losses, are from those of one device."""
    compared = subprocess.run(
        [sys.executable, "-c", COMPARE, str(count), arch, str(data), str(out), str(clip)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
    )
    assert compared.returncode == 0, compared.stderr
    steps, weights, others, moved, last = map(float, compared.stdout.split())
    assert steps >= 50
    assert last == 1, "the last batch must have fewer images than there are devices"
    assert moved > 0.01, "two that did not learn are equal"
    return max(weights, others)


def test_two_devices_reach_the_weights_of_one(prepared, tmp_path):
    assert apart(2, "v_only", prepared, tmp_path) < 1e-5


@pytest.mark.large
@pytest.mark.parametrize(("count", "clip"), [(2, 0.0), (4, 0.5)])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_devices_reach_the_weights_of_one(prepared, tmp_path, count, clip, arch):
    """Dropout, penalties and clipped gradients are those of the whole batch."""
    assert apart(count, arch, prepared, tmp_path, clip) < 1e-5


def cluster(count):
    """The environment of each of `count` processes that know each other by TF_CONFIG."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    for index in range(count):
        task = {"type": "worker", "index": index}
        yield {
            **os.environ,
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
        }


def flags(data, out, workers, hidden=8):
    return [
        *(f"--data={data}", f"--out={out}", "--arch=ltwin", f"--hidden={hidden}"),
        *("--m=2", "--M=4", "--max_epochs=30", f"--workers={workers}"),
    ]


def start(count, data, out, hidden=8):
    """Starts the processes of a run."""
    command = [sys.executable, "-m", "experiments.run", *flags(data, out, count, hidden)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(command, cwd=ROOT, env=environment, **streams)
        for environment in cluster(count)
    ]


def ended(processes):
    """Waits for processes: (status, stdout, stderr) of each."""
    said = [process.communicate(timeout=900) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def state(out):
    """The weights and the optimizer's numbers that a run has stored."""
    with np.load(out / "checkpoints" / "last.npz") as stored:
        numbers = [name for name in stored.files if name.startswith(("model_", "optimizer_"))]
        return {name: stored[name] for name in numbers}


@pytest.mark.large
@pytest.mark.parametrize("count", [2, 4])
def test_processes_reach_the_weights_of_one(prepared, tmp_path, count):
    ends = ended(start(count, prepared, tmp_path / "several"))
    assert [status for status, *_ in ends] == [0] * count, ends
    tables = [out[out.index("ltwin  ") :] for _, out, _ in ends]
    assert len(set(tables)) == 1, "all processes tell what came out"
    argv = ["run", *flags(prepared, tmp_path / "one", 1)]
    assert console.execute(options.Options, run.main, run.USAGE, argv) == 0
    several, one = state(tmp_path / "several"), state(tmp_path / "one")
    assert set(several) == set(one)
    for name in one:
        np.testing.assert_allclose(several[name], one[name], atol=1e-5, err_msg=name)
    scores = [np.load(tmp_path / out / "predictions.npz")["scores"] for out in ("several", "one")]
    np.testing.assert_allclose(*scores, atol=1e-4)
    for status, _, errors in ended(start(count, prepared, tmp_path / "several", hidden=9)):
        assert status == 2
        assert "holds a run with hidden 8; received 9" in errors


@pytest.mark.large
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker(prepared, tmp_path, victim):
    """The others end with one line; started again they end with the weights of undisturbed ones."""
    out = tmp_path / "killed"
    processes = start(2, prepared, out)
    while not (out / "checkpoints" / "last.npz").exists():
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.005)
    processes[victim].send_signal(signal.SIGKILL)
    ends = ended(processes)
    assert not (out / "metrics.json").exists(), "it was over before the kill"
    status, _, errors = ends[1 - victim]
    assert status == 2, ends
    line = "error: training: another worker stopped; restart all workers to resume"
    assert len(re.findall(f"^{line} from the last epoch .*$", errors, re.MULTILINE)) == 1
    assert "Traceback" not in errors
    assert [status for status, *_ in ended(start(2, prepared, out))] == [0, 0]
    assert [status for status, *_ in ended(start(2, prepared, tmp_path / "whole"))] == [0, 0]
    resumed, whole = state(out), state(tmp_path / "whole")
    for name in whole:
        np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
@pytest.mark.parametrize(("processes", "devices"), [(1, 4), (2, 1), (2, 2)])
def test_every_row_of_a_batch_is_given_to_one_replica(count, processes, devices):
    batch = {"row": tf.range(count)}, tf.range(count, dtype=tf.float32)[:, None]
    given = []
    for process in range(processes):
        context = tf.distribute.InputContext(processes, process, processes * devices)
        shares = list(replicas._shares(tf.data.Dataset.from_tensors(batch), context))
        assert len(shares) == devices
        for inputs, labels, first, total, counts in shares:
            rows = inputs["row"].numpy().tolist()
            assert total == count
            assert labels.numpy()[:, 0].tolist() == rows
            assert rows == list(range(first, first + len(rows)))
            assert rows, "some layers cannot do without a row"
            given += rows if counts else []
    assert given == list(range(count))


def test_a_replicas_rows_get_the_mask_that_they_get_in_the_batch():
    layer = dropout.Dropout(0.5)
    batch = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float32)
    state = layer.seed_generator.state.numpy()
    whole = layer(batch, training=True).numpy()
    assert 0.2 < np.mean(whole == 0) < 0.8
    np.testing.assert_array_equal(whole[whole != 0], 2 * batch[whole != 0])
    seeds = {layer.name: tf.constant(state)}
    parts = []
    for first, last in [(0, 4), (4, 9), (9, 9)]:
        with dropout.given(dropout.Share(tf.constant(first), tf.constant(9), seeds)):
            parts.append(layer(batch[first:last], training=True).numpy())
            np.testing.assert_array_equal(layer(batch, training=False), batch)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert isinstance(keras.layers.deserialize(keras.layers.serialize(layer)), dropout.Dropout)


def config(**changes):
    task = {"type": "worker", "index": 0}
    return json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": task} | changes)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("{", r"TF_CONFIG must be \{.*\}; received '\{'"),
        ("[]", r"TF_CONFIG must be \{.*\}; received '\[\]'"),
        (config(cluster={"ps": ["c:1"]}), r"TF_CONFIG must be \{.*\}; received"),
        (config(cluster={"worker": ["a:1"], "ps": ["c:1"]}), "TF_CONFIG must name workers only"),
        (config(task={"type": "chief", "index": 0}), "TF_CONFIG must name workers only"),
        (config(task={"type": "worker", "index": 2}), "task index must be 0 to 1; received 2"),
        (config(cluster={"worker": ["a:1"]}), "--workers must be 1, as in .*; received 2"),
    ],
)
def test_a_cluster_that_cannot_be(monkeypatch, value, line):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match=line):
        replicas.workers(2)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--workers=0"], "--workers must be at least 1; received 0"),
        (
            ["--workers=2", "--precision=mixed_float16"],
            "--precision must be float32 or mixed_bfloat16 with --workers; "
            "received 'mixed_float16'",
        ),
        (
            ["--workers=2", "--arch=knn_tags"],
            "--workers has no effect on the baseline knn_tags; received 2",
        ),
    ],
)
def test_flags_that_do_not_go_together(prepared, capsys, given, line):
    argv = ["run", f"--data={prepared}", *given]
    assert console.execute(options.Options, run.main, run.USAGE, argv) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_table_on_one_of_several_devices(monkeypatch, refused):
    # A process that has computed already, as this one, cannot have two devices any more.
    monkeypatch.setattr(replicas, "workers", lambda count: types.SimpleNamespace(devices=count))

    def command(*argv):
        return console.execute(options.Options, run.main, run.USAGE, ["run", *argv])

    line = "--placement must be host or mmap with several devices; received device"
    refused(command, ["--workers=2", "--placement=device"], line)


def test_more_workers_than_gpus(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * (kind == "GPU"))
    line = "--workers must be at most 1 (the GPUs of this machine); received 2"
    with pytest.raises(InputError, match=re.escape(line)):
        replicas.workers(2)
