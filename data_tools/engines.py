"""Where the work of the stages is done: in this process, or by the workers of a Ray cluster.

A stage cuts its work into items that are small, rows and names rather than tables, and gives
them to `map` or `pool`. What all items need (tag ids, word vectors, the path of the features) is
part of the work and goes to each machine once. Results come in the order of the items, so that
who did what changes nothing. Files are written by the workers themselves, on the disk that all
of them see, each whole or not at all; so it does not matter if one is written twice.

Queueing, and doing again what was under way on a process or a machine that died, is Ray's.
"""

import contextlib
import dataclasses
import logging
import os
import platform
import socket
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import tensorflow as tf

import tagnet
from tagnet.errors import InputError
from tagnet.system.console import require_one_of, say
from tagnet.system.files import TEMPORARY, write_text

ENGINES = ("local", "ray")
CONNECT = 60.0  # seconds in which a cluster must answer
LOOK = 120.0  # seconds in which each of its nodes must have started a process and answered
RETRIES = 20  # times that an item is begun again whose process died; perhaps the item killed it
QUEUED = 2  # items a processor that are handed to the cluster at a time
NETWORK_CPUS = 2  # processors for each CNN: one decodes while the other computes


class Engine(Protocol):
    """Applies work to items.

    Attributes:
        apart: whether that is done by other processes, so that it pays to cut work into pieces.
    """

    apart: bool

    def map(self, work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """`work(item)` of every item, in order."""
        ...

    def pool(
        self, make: Callable[[], Callable[[Any], Any]], items: Sequence[Any], /
    ) -> Iterator[Any]:
        """The same by workers each of which has made its work once, and keeps it."""
        ...


class Local:
    """Does everything in this process, one item after the other."""

    apart = False

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """As `Engine.map`."""
        return map(work, items)

    def pool(self, make: Callable[[], Callable[[Any], Any]], items: Sequence[Any]) -> Iterator[Any]:
        """As `Engine.pool`."""
        return map(make(), items) if items else iter(())


class _Worker:
    """The state of an actor of `Ray.pool`."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = make()

    def work(self, item: Any) -> Any:
        return self._work(item)


def _apply(work: Callable[[Any], Any], item: Any) -> Any:
    numba.set_num_threads(1)  # a task has one processor, as Ray counts them
    return work(item)


class Ray:
    """Has everything done by the tasks and actors of a Ray cluster that is connected to.

    Args:
        ray: the package.
    """

    apart = True

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """As `Engine.map`, an item a task; few more are under way than there are processors."""
        shared = self._ray.put(work)
        task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(_apply)
        under_way: deque[Any] = deque()
        with _explained(self._ray):
            for item in items:
                under_way.append(task.remote(shared, item))
                if len(under_way) >= QUEUED * max(1, int(self._ray.cluster_resources()["CPU"])):
                    yield self._ray.get(under_way.popleft())
            while under_way:
                yield self._ray.get(under_way.popleft())

    def pool(self, make: Callable[[], Callable[[Any], Any]], items: Sequence[Any]) -> Iterator[Any]:
        """As `Engine.pool`, by actors all over the cluster."""
        if not items:
            return
        cpus = [int(node["Resources"].get("CPU", 0)) for node in self._nodes()]
        number = min(len(items), sum(-(-count // NETWORK_CPUS) for count in cpus))
        # Actors as these need a processor to begin, but do not keep it: those of a dead node can
        # begin again where the others are.
        actor = self._ray.remote(
            scheduling_strategy="SPREAD", max_restarts=RETRIES, max_task_retries=RETRIES
        )(_Worker)
        actors = [actor.remote(make) for _ in range(max(1, number))]
        with _explained(self._ray):
            yield from self._ray.util.ActorPool(actors).map(
                lambda actor, item: actor.work.remote(item), items
            )

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def check(self, out: Path, paths: Sequence[Path]) -> None:
        """Refuses a cluster of which a node has other software, or does not see the files.

        Args:
            out: the prepared directory, to be.
            paths: the user's files.

        Raises:
            InputError: names the node.
        """
        token = uuid.uuid4().hex
        probe = out / f"{TEMPORARY}{token}"
        there = [str(path.absolute()) for path in paths if path.exists()]
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self._ray.remote(num_cpus=0, max_retries=2)(seen)
        write_text(probe, token)
        try:
            nodes = self._nodes()
            asked = [
                look.options(scheduling_strategy=affinity(node["NodeID"], soft=False)).remote(
                    str(probe.absolute()), there
                )
                for node in nodes
            ]
            for node, answer in zip(nodes, asked, strict=True):
                _check_node(self._ray, node["NodeManagerAddress"], answer, out, token)
        finally:
            probe.unlink()
        count = sum(int(node["Resources"].get("CPU", 0)) for node in nodes)
        say(f"Ray: {len(nodes)} nodes with {count} processors")


def seen(probe: str, paths: Sequence[str]) -> dict[str, Any]:
    """What a node sees: its versions, what `probe` holds, and which of `paths` it lacks."""
    try:
        token = Path(probe).read_text(encoding="utf-8")
    except OSError:
        token = ""
    return {
        "versions": versions(),
        "token": token,
        "missing": [path for path in paths if not os.path.exists(path)],
    }


def versions() -> dict[str, str]:
    """Of what results depend on."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "tagnet": tagnet.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def _check_node(ray: Any, address: str, answer: Any, out: Path, token: str) -> None:
    where = f"--engine=ray: the node {address}"
    try:
        found = ray.get(answer, timeout=LOOK)
    except ray.exceptions.GetTimeoutError as error:
        raise InputError(f"{where} must answer within {LOOK:.0f} s; received nothing") from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{where} must be able to import tagnet and data_tools; received {reason!r}"
        ) from error
    for package, version in versions().items():
        if found["versions"].get(package) != version:
            raise InputError(
                f"{where} must have {package} {version} as this machine; "
                f"received {found['versions'].get(package)}"
            )
    for path in [*([] if found["token"] == token else [out]), *found["missing"]]:
        raise InputError(
            f"{where} must see {path} as this machine does; received no such file there; "
            "is the folder on a disk that all nodes share?"
        )


@contextlib.contextmanager
def _explained(ray: Any) -> Iterator[None]:
    """Raises what the work raised as if it had been done here."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError | OSError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--engine=ray: Ray gave up ({reason}); what is finished is kept, start again"
        ) from error


@contextlib.contextmanager
def opened(name: str, address: str | None) -> Iterator[Engine]:
    """Gives an engine for as long as the block runs.

    Args:
        name: one of `ENGINES`.
        address: HOST:PORT of a cluster that runs; None starts one on this machine alone.

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """
    require_one_of("engine", name, ENGINES)
    if name == "local":
        if address is not None:
            raise InputError(f"--address is for --engine=ray; received {address!r} without")
        yield Local()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise InputError("--engine=ray needs Ray (pip install 'tagnet[ray]')") from error
    if address is not None:
        _require_answer(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--engine=ray{f' --address={address}' if address else ''}: cannot be used ({reason})"
        ) from error
    try:
        yield Ray(ray)
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Refuses an address at which no cluster answers in time; Ray itself might try for ever."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--address must be HOST:PORT of a Ray cluster; received {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address={address}: must be a Ray cluster that runs; nothing answers there ({error})"
        ) from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", f"--address={address}"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=CONNECT
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"--address={address}: must be a Ray cluster that runs; what answers there is none, or "
            f"took longer than {CONNECT:.0f} s"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason is told"])[-1]
        raise InputError(f"--address={address}: must be a Ray cluster that runs ({reason})")


def paths_of(settings: Any) -> list[Path]:
    """The files and folders that a dataclass of settings names."""
    values = (getattr(settings, field.name) for field in dataclasses.fields(settings))
    return [value for value in values if isinstance(value, Path)]
