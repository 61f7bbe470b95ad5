"""A served model under load: requests a second and latency, with and without batching.

    python -m benchmarks.speed.serving_load [--model=RUN] [--clients=1,8,64] [--seconds=10]

Clients ask over gRPC, in TensorFlow Serving's protocol, each for one photo (or for one feature
vector) and at once for the next when its answer is there. The server is `serving_server.py`, a
process of its own on the same machine, so the clients take some of its processors; what an answer
costs the server is counted beside. Servers with and without batching take turns, so that other
work on the machine slows both. The last rows share the clients out to two servers that know
nothing of each other, whose answers are compared.
"""

import contextlib
import dataclasses
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import psutil
import tensorflow as tf

from benchmarks import machine
from benchmarks.speed.serving_server import LARGEST, stubs
from tagnet.errors import InputError
from tagnet.serving.annotator import Annotator
from tagnet.settings import SHIPPED_MODEL
from tagnet.system import console
from tagnet.system.console import option, require_at_least, say

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"
REQUESTS = 64  # different ones of each kind
TAGS = 4  # of a request
WARM_UP = 0.2  # of the seconds, not counted
COLUMNS = (
    *("request", "clients", "servers", "batches of"),
    *("answers/s", "p50, ms", "p99, ms", "CPU ms an answer"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    model: Path = option(Path(SHIPPED_MODEL), "run directory, SavedModel or preset")
    clients: tuple[str, ...] = option(("1", "8", "64"), "numbers of clients at once")
    seconds: float = option(10.0, "how long each row is measured")
    batch: int = option(16, "most requests in a batch")
    wait: float = option(5.0, "milliseconds that a batch waits for more requests")

    def __post_init__(self) -> None:
        require_at_least(self, seconds=0.1, batch=1, wait=0)
        for number in self.clients:
            if not number.isdecimal() or number == "0":
                raise InputError(f"--clients must be numbers from 1; received {number!r}")


def main(options: Options) -> None:
    """Measures and prints."""
    messages, _ = stubs()
    measured_on = machine.described("tensorflow", "grpcio")  # the load before ours
    annotator = Annotator.load(options.model)
    kinds = {"photo": photo_requests(messages, annotator)}
    kinds["features"] = feature_requests(messages, annotator)
    clients = [int(number) for number in options.clients]
    say(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as folder:
        model = annotator.save(folder)
        with (
            served(model) as first,
            served(model) as second,
            served(model, options.batch, options.wait) as batching,
        ):
            for kind, requests in kinds.items():
                for server in (first, second, batching):
                    ask(server, requests[0])  # the first of a kind takes seconds
                for count in clients:
                    for servers, batch in (([first], 0), ([batching], options.batch)):
                        _row(kind, servers, batch, count, requests, options.seconds)
            _row("photo", [first, second], 0, clients[-1], kinds["photo"], options.seconds)
            same = [ask(first, one) == ask(second, one) for one in kinds["photo"]]
            say(f"\nequal answers of both servers: {sum(same)} of {len(same)}")
            say(f"a request of {LARGEST / 2**20:.0f} MB: {refused(first, messages)}")
    arch = annotator.arch
    say(f"`{arch}`, batches wait {options.wait:g} ms; {measured_on} at the beginning")


class Running(NamedTuple):
    """A server: its port and its process."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """What it has used until now."""
        times = self.process.cpu_times()
        return times.user + times.system


@contextlib.contextmanager
def served(model: Path, batch: int = 0, wait: float = 5.0) -> Iterator[Running]:
    """A server in a process of its own."""
    flags = [f"--model={model}", f"--batch={batch}", f"--wait={wait}"]
    command = [sys.executable, "-m", "benchmarks.speed.serving_server", *flags]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        said = process.stdout.readline().split()
        if not said:
            raise InputError("the server did not start; run benchmarks.speed.serving_server")
        yield Running(int(said[1]), psutil.Process(process.pid))
        process.stdin.close()


def photo_requests(messages: Any, annotator: Annotator) -> list[Any]:
    """Requests for one photo, as `tf.train.Example` with tags."""
    photos = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.jpg"))]
    requests = []
    for photo, tags in zip(itertools.cycle(photos), _tags(annotator), strict=False):
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[photo])),
            "tags": tf.train.Feature(bytes_list=tf.train.BytesList(value=tags)),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        examples = np.array([example.SerializeToString()], object)
        requests.append(_request(messages, "annotate_examples", examples=examples))
    return requests


def feature_requests(messages: Any, annotator: Annotator) -> list[Any]:
    """Requests for one feature vector with tags."""
    dim = annotator.backbone.dim
    rng = np.random.default_rng(0)
    return [
        _request(
            messages,
            "annotate_features",
            phi=rng.random([1, dim], np.float32),
            tags=np.array([tags], object),
        )
        for tags in _tags(annotator)
    ]


def _tags(annotator: Annotator) -> list[list[bytes]]:
    rng = np.random.default_rng(0)
    words = annotator.vocabulary
    chosen = rng.integers(len(words), size=[REQUESTS, TAGS])
    return [[words[number].encode() for number in row] for row in chosen]


def _request(messages: Any, signature: str, **inputs: np.ndarray) -> Any:
    request = messages.PredictRequest()
    request.model_spec.name = "tagnet"
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


@contextlib.contextmanager
def _asking(port: int) -> Iterator[Any]:
    """The method `Predict` of a server, over a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
        yield stubs()[1].PredictionServiceStub(channel).Predict


def ask(server: Running, request: Any) -> Any:
    """One answer."""
    with _asking(server.port) as predict:
        return predict(request, timeout=60)


def refused(server: Running, messages: Any) -> str:
    """What is said of a request that is larger than the server takes."""
    large = np.array([bytes(LARGEST)], object)
    try:
        ask(server, _request(messages, "annotate_examples", examples=large))
    except grpc.RpcError as error:
        return str(error.code().name)
    return "answered"


def latencies(
    ports: Sequence[int], clients: int, requests: Sequence[Any], seconds: float
) -> np.ndarray:
    """Seconds of every answer that clients got after the warm-up, in any order.

    Args:
        ports: of servers, which the clients are shared out to.
        clients: how many ask at once.
        requests: each client asks them in turn, each begins with another one.
        seconds: for how long.

    Raises:
        grpc.RpcError: a request is not answered.
    """
    found: list[float] = []
    failed: list[grpc.RpcError] = []
    begun = time.perf_counter()

    def client(number: int) -> None:
        with _asking(ports[number % len(ports)]) as predict:
            for turn in itertools.count(number):
                asked = time.perf_counter()
                if asked - begun > seconds * (1 + WARM_UP) or failed:
                    return
                try:
                    predict(requests[turn % len(requests)], timeout=60)
                except grpc.RpcError as error:
                    failed.append(error)
                now = time.perf_counter()
                if seconds * WARM_UP < now - begun <= seconds * (1 + WARM_UP):
                    found.append(now - asked)

    threads = [threading.Thread(target=client, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return np.array(found)


def _row(
    kind: str,
    servers: Sequence[Running],
    batch: int,
    clients: int,
    requests: Sequence[Any],
    seconds: float,
) -> None:
    used = -sum(server.cpu_seconds() for server in servers)
    found = latencies([server.port for server in servers], clients, requests, seconds)
    used += sum(server.cpu_seconds() for server in servers)
    median, late = 1000 * np.quantile(found, [0.5, 0.99])
    answered = len(found) * (1 + WARM_UP)  # those of the warm-up are not in `found`
    told = [kind, clients, len(servers), batch or "–", f"{len(found) / seconds:.1f}"]
    told += [f"{median:.1f}", f"{late:.1f}", f"{1000 * used / answered:.1f}"]
    say(f"| {' | '.join(map(str, told))} |")


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
