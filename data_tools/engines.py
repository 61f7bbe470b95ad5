"""Engines that run the stages' work: in this process, or on a Ray cluster.

A stage cuts its work into items that are small, rows and names rather than tables, and gives
them to `map` or `map_with_state`. What all items need (tag ids, word vectors, the path of the
features) is part of the work and goes to each machine once. Results come in the order of the
items, so that who did what changes nothing. Files are written by the workers themselves, on the
disk that all of them see, each whole or not at all; so it does not matter if one is written twice.

Queueing, and doing again what was under way on a process or a machine that died, is Ray's.
"""

import contextlib
import dataclasses
import logging
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tagnet.errors import InputError, reason_of
from tagnet.system.console import counted, require_one_of, say
from tagnet.system.files import TEMPORARY, write_text

ENGINES = ("local", "ray")
LOOK = 120.0  # seconds in which each node of a cluster must have started a process and answered
RETRIES = 20  # times that an item is begun again whose process died; perhaps the item killed it
QUEUED = 2  # items a processor that are handed to the cluster at a time
NETWORK_CPUS = 2  # processors for each CNN: one decodes while the other computes

Work = Callable[[Any], Any]


class Engine(Protocol):
    """Applies work to items."""

    def map(self, work: Work, items: Iterable[Any], /) -> Iterator[Any]:
        """`work(item)` of every item, in order."""
        ...

    def map_with_state(self, make: Callable[[], Work], items: Sequence[Any], /) -> Iterator[Any]:
        """As `map`, by workers that each build something once (e.g. a CNN) and keep it."""
        ...


class Local:
    """Does everything in this process, one item after the other."""

    def map(self, work: Work, items: Iterable[Any]) -> Iterator[Any]:
        """As `Engine.map`."""
        return map(work, items)

    def map_with_state(self, make: Callable[[], Work], items: Sequence[Any]) -> Iterator[Any]:
        """As `Engine.map_with_state`."""
        return map(make(), items) if items else iter(())


class Ray:
    """Runs everything as tasks and actors of the connected Ray cluster.

    Args:
        ray: the package.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def map(self, work: Work, items: Iterable[Any]) -> Iterator[Any]:
        """As `Engine.map`, one task per item; few more tasks are in flight than processors."""
        shared = self._ray.put(work)
        task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(_apply)
        under_way: deque[Any] = deque()
        with _errors_of_work(self._ray):
            for item in items:
                under_way.append(task.remote(shared, item))
                if len(under_way) >= QUEUED * max(1, int(self._ray.cluster_resources()["CPU"])):
                    yield self._ray.get(under_way.popleft())
            while under_way:
                yield self._ray.get(under_way.popleft())

    def map_with_state(self, make: Callable[[], Work], items: Sequence[Any]) -> Iterator[Any]:
        """As `Engine.map_with_state`, by actors all over the cluster."""
        if not items:
            return
        networks = sum(-(-_cpus(node) // NETWORK_CPUS) for node in self._nodes())
        # Actors as these need a processor to begin, but do not keep it: those of a dead node can
        # begin again where the others are.
        actor = self._ray.remote(
            scheduling_strategy="SPREAD", max_restarts=RETRIES, max_task_retries=RETRIES
        )(_Worker)
        actors = [actor.remote(make) for _ in range(max(1, min(len(items), networks)))]
        with _errors_of_work(self._ray):
            yield from self._ray.util.ActorPool(actors).map(
                lambda actor, item: actor.work.remote(item), items
            )

    def check(self, out: Path, paths: Sequence[Path]) -> None:
        """Checks that every node of the cluster sees the files.

        Args:
            out: the future prepared directory.
            paths: the user's files.

        Raises:
            InputError: names the node.
        """
        probe = out / f"{TEMPORARY}{uuid.uuid4().hex}"
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self._ray.remote(num_cpus=0, max_retries=2)(unseen)
        nodes = self._nodes()
        write_text(probe, "")
        try:
            there = [str(path.absolute()) for path in (probe, *paths) if path.exists()]
            strategies = [affinity(node["NodeID"], soft=False) for node in nodes]
            answers = [look.options(scheduling_strategy=one).remote(there) for one in strategies]
            for node, answer in zip(nodes, answers, strict=True):
                _check_node(self._ray, node["NodeManagerAddress"], answer)
        finally:
            probe.unlink()
        say(f"Ray: {counted(len(nodes), 'node')}, {counted(sum(map(_cpus, nodes)), 'processor')}")

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


class _Worker:
    """The state of an actor of `Ray.map_with_state`."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self._work = make()

    def work(self, item: Any) -> Any:
        return self._work(item)


def _apply(work: Work, item: Any) -> Any:
    import numba

    numba.set_num_threads(1)  # a task has one processor, as Ray counts them
    return work(item)


def _cpus(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("CPU", 0))


def unseen(paths: Sequence[str]) -> list[str]:
    """The paths that do not exist on this machine."""
    return [path for path in paths if not os.path.exists(path)]


def _check_node(ray: Any, address: str, answer: Any) -> None:
    where = f"--engine=ray: the node {address}"
    try:
        lacking = ray.get(answer, timeout=LOOK)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{where} does not answer or has no tagnet and data_tools installed ({reason})"
        ) from error
    if lacking:
        raise InputError(
            f"{where} must see {lacking[0]}, but it has no such file; "
            "put it on a disk that all nodes share"
        )


@contextlib.contextmanager
def _errors_of_work(ray: Any) -> Iterator[None]:
    """Raises the work's own error instead of Ray's."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--engine=ray: Ray failed ({reason}); run the command again") from error


@contextlib.contextmanager
def opened(name: str, address: str | None) -> Iterator[Engine]:
    """Yields an engine that is shut down after the block.

    Args:
        name: one of `ENGINES`.
        address: HOST:PORT of a running cluster; None starts one on this machine only.

    Raises:
        InputError: Ray is not installed, or cannot be started or connected to.
    """
    require_one_of("engine", name, ENGINES)
    if name == "local":
        if address is not None:
            raise InputError(
                f"--address needs --engine=ray; received --address={address} without it"
            )
        yield Local()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    if address is not None:  # one attempt to connect, of 40 s, in place of twenty
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise InputError("--engine=ray needs Ray (pip install 'tagnet[ray]')") from error
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        given = f" --address={address}" if address else ""
        reason = reason_of(error)
        raise InputError(f"--engine=ray{given}: cannot be used ({reason})") from error
    try:
        yield Ray(ray)
    finally:
        ray.shutdown()


def paths_of(settings: Any) -> list[Path]:
    """The files and folders that a dataclass of settings names."""
    values = (getattr(settings, field.name) for field in dataclasses.fields(settings))
    return [value for value in values if isinstance(value, Path)]
