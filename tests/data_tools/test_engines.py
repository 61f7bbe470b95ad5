"""Prepared by a Ray cluster: the bytes that are prepared here, whoever is killed meanwhile."""

import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers.tables import Table, contents, make_table
from PIL import Image

from data_tools import engines, prepare
from data_tools.engines import Local, opened
from data_tools.pipeline import prepare as prepare_data
from data_tools.settings import Settings
from data_tools.sources import image_features
from data_tools.steps import vocabulary
from tagnet.data import records
from tagnet.errors import InputError
from tagnet.search import neighbours
from tagnet.system import console


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many items for every stage; who sends them decides, not who works on them."""
    for name in ("QUERIES", "SETS", "VECTORS"):
        monkeypatch.setattr(neighbours, name, 16)
    monkeypatch.setattr(vocabulary, "BLOCK", 7)
    monkeypatch.setattr(image_features, "CHUNK", 2)


class Elsewhere:
    """As an engine in other processes: they are given and answer what can be pickled."""

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        given = pickle.dumps(work)
        for item in items:
            yield pickle.loads(pickle.dumps(pickle.loads(given)(pickle.loads(pickle.dumps(item)))))

    def map_with_state(
        self, make: Callable[[], Callable[[Any], Any]], items: Sequence[Any]
    ) -> Iterator[Any]:
        work = pickle.loads(pickle.dumps(make))()
        return map(work, pickle.loads(pickle.dumps(items)))


def photographs(folder: Path, count: int) -> Path:
    """A table of so many photographs, the third of which is none."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = ["image_id,path,tags,labels"]
    for number in range(count):
        pixels = rng.integers(256, size=[40, 50, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number},{number}.png,tag{number % 3}|all,label{number % 2}")
    (folder / "2.png").write_bytes(b"none")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def test_the_same_bytes_in_pieces(small_pieces: None, table: Table, tmp_path: Path) -> None:
    settings = table.settings()
    prepare_data(settings, tmp_path / "here")
    prepare_data(settings, tmp_path / "elsewhere", engine=Elsewhere())
    assert contents(tmp_path / "elsewhere") == contents(tmp_path / "here")


def test_who_prepared_it_does_not_matter_later(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_data(table.settings(splits=1), tmp_path / "out", engine=Elsewhere())
    capsys.readouterr()
    prepare_data(table.settings(splits=1), tmp_path / "out")
    assert "running" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_features_of_some_images_are_read_from_the_file(tmp_path: Path, kind: str) -> None:
    import h5py

    phi = np.random.default_rng(0).random([20, 3], np.float32)
    path = tmp_path / f"phi.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file["phi"] = phi
    else:
        {"npy": np.save, "npz": np.savez}[kind](path, phi)
    given = pickle.dumps(image_features.from_file(path, 20).blocks)
    assert len(given) < 1000
    np.testing.assert_array_equal(np.concatenate(list(pickle.loads(given)(7, 15))), phi[7:15])


def test_a_node_that_sees_other_photographs_is_refused(tmp_path: Path) -> None:
    table = photographs(tmp_path / "photos", 3)
    paths = [str(table.with_name(f"{number}.png")) for number in range(3)]
    backbone = Settings.of(raw=table).source.network  # type: ignore[attr-defined]

    class Behind(Local):
        """Sees the folder as it was, or will be."""

        def map_with_state(self, make: Callable, items: Sequence[Any]) -> Iterator[Any]:
            Path(paths[1]).unlink()
            return super().map_with_state(make, items)

    cache = image_features.Cache(tmp_path / "cache", Behind())
    with pytest.raises(InputError, match="must see the same photos and weights as the other"):
        image_features.from_photographs(paths, backbone, cache)
    assert not (tmp_path / "cache").exists()


# --- What is refused ------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The line by which the command refuses flags."""
    given = ["", "--source=demo", *flags]
    assert console.execute(prepare.Options, prepare.main, "", given) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_lines_that_need_no_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"--out={tmp_path / 'out'}"
    assert "--engine must be one of local, ray; received 'dask'" in refused(
        capsys, out, "--engine=dask"
    )
    line = "--address needs --engine=ray; received --address=a:1 without it"
    assert line in refused(capsys, out, "--address=a:1")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    line = "--engine=ray needs Ray (pip install 'tagnet[ray]')"
    assert line in refused(capsys, out, "--engine=ray")
    assert not (tmp_path / "out").exists()


def test_what_ray_says_of_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    error = refused(capsys, f"--out={tmp_path / 'out'}", "--engine=ray", "--address=here")
    assert "--engine=ray --address=here: cannot be used (Invalid address format: here)" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.large  # Ray tries for 40 s
def test_an_address_at_which_nothing_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.delenv("RAY_gcs_server_port_wait_time_s", raising=False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"--address=127.0.0.1:{nobody.getsockname()[1]}"
        error = refused(capsys, f"--out={tmp_path / 'out'}", "--engine=ray", address)
    assert f"--engine=ray {address}: cannot be used (Failed to connect to Ray cluster" in error


def test_nodes_that_differ(tmp_path: Path) -> None:
    """What a node answers is taken from here; that nodes are asked is tested on a cluster."""

    class Errors:
        class RayError(Exception): ...

    class Answering:
        exceptions = Errors

        @staticmethod
        def get(answer: Any, timeout: float) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    def line(answer: Any) -> str:
        with pytest.raises(InputError) as raised:
            engines._check_node(Answering, "10.0.0.2", answer)
        return str(raised.value)

    engines._check_node(Answering, "10.0.0.2", engines.unseen([str(tmp_path)]))
    where = "--engine=ray: the node 10.0.0.2"
    lacking = engines.unseen([str(tmp_path), str(tmp_path / "photos")])
    assert line(lacking).startswith(f"{where} must see {tmp_path / 'photos'}, but it has no")
    unknown = Errors.RayError("Traceback\nModuleNotFoundError: No module named 'tagnet'")
    assert line(unknown).startswith(f"{where} does not answer or has no tagnet and data_tools")
    assert "No module named 'tagnet'" in line(unknown)


# --- On a cluster of two nodes, each a set of processes with an object store of its own -------


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Its head has one processor."""
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 2**28}
    made = Cluster(initialize_head=True, head_node_args=head)
    yield made
    made.shutdown()


def second(cluster: Any) -> Any:
    """Another node of one processor."""
    return cluster.add_node(num_cpus=1, object_store_memory=2**28)


@pytest.mark.large
def test_a_cluster_gives_the_same_bytes(
    cluster: Any,
    small_pieces: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second(cluster)
    table = make_table(tmp_path / "raw").settings()
    raw = photographs(tmp_path / "photos", 6)
    photos = Settings.of(raw=raw, sizes="3,1,1", pools=("open",), M=2)
    with opened("ray", cluster.address) as engine:
        for name, settings in {"table": table, "photos": photos}.items():
            prepare_data(settings, tmp_path / f"{name}-here")
            prepare_data(settings, tmp_path / f"{name}-ray", engine=engine)
            assert contents(tmp_path / f"{name}-ray") == contents(tmp_path / f"{name}-here")
        assert "Ray: 2 nodes, 2 processors" in capsys.readouterr().out

        def wrong(item: int) -> int:
            raise InputError(f"row {item} is wrong") if item else OSError(28, "No space left")

        with pytest.raises(InputError, match="^row 1 is wrong$"):
            list(engine.map(wrong, [1]))
        with pytest.raises(OSError, match="No space left"):
            list(engine.map(wrong, [0]))


@pytest.mark.large
@pytest.mark.parametrize("who", ["worker", "node"])
def test_killed_in_the_middle(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, who: str
) -> None:
    node = second(cluster)
    for name in ("QUERIES", "SETS", "VECTORS"):
        monkeypatch.setattr(neighbours, name, 1000)
    monkeypatch.setattr(records, "MIN_SHARDS", 12)
    settings = make_table(tmp_path / "raw", num_images=8000, dim=64).settings(splits=1, M=24)
    prepare_data(settings, tmp_path / "here")
    killed: list[str] = []

    def kill() -> None:
        while not (tmp_path / "ray" / ".stages" / "images.json").exists():
            time.sleep(0.05)
        while who == "node" and not killed:
            if any("_apply" in process.name() for process in descendants(node)):
                cluster.remove_node(node, allow_graceful=False)
                killed.append("node")
        while len(killed) < 5 and not (tmp_path / "ray" / "dataset.json").exists():
            if who == "worker":
                for process in descendants(node, cluster.head_node):
                    if "_apply" in process.name():  # at work, by the title that Ray gives it
                        process.kill()
                        killed.append(process.name())
                        break
            time.sleep(0.5)

    def descendants(*nodes: Any) -> list[psutil.Process]:
        raylets = [
            psutil.Process(info.process.pid)
            for one in nodes
            for info in one.all_processes["raylet"]
        ]
        return [child for raylet in raylets for child in raylet.children(recursive=True)]

    with opened("ray", cluster.address) as engine:
        killer = threading.Thread(target=kill)
        killer.start()
        prepare_data(settings, tmp_path / "ray", engine=engine)
        killer.join()
        alive = sum(node["Alive"] for node in engine._ray.nodes())  # type: ignore[attr-defined]
    assert killed
    assert alive == (1 if who == "node" else 2)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
