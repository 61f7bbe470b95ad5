"""A server of TensorFlow Serving's gRPC protocol in Python, to be measured by `serving_load.py`.

    python -m benchmarks.speed.serving_server --model=SAVED_MODEL --batch=16 --wait=5

Answers `PredictionService.Predict`, prints its port when it is ready, and ends when its input
does. It has no other part of the protocol, no encryption and no REST: for use, take TensorFlow
Serving. Batches are formed by TensorFlow's own operation, which TensorFlow Serving's scheduler is
the base of.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import tensorflow as tf

from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import option, require_at_least, say

LARGEST = 16 * 2**20  # bytes of a request; gRPC's own limit in Python is 4 MB
THREADS = 128  # requests that are in work or wait for their batch
MOST_WAITING = 256  # batches
ASSERTION = re.compile(r"assertion failed: \[(.*?)\]")
SIZE = "grpc.max_receive_message_length"

Call: TypeAlias = Callable[..., dict[str, tf.Tensor]]
"""A signature: its inputs by name → its outputs by name."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    model: Path = option(Path("run/saved_model/1"), "a version of a SavedModel")
    batch: int = option(0, "most requests in a batch; 0 forms none")
    wait: float = option(5.0, "milliseconds that a batch waits for more requests")

    def __post_init__(self) -> None:
        require_at_least(self, batch=0, wait=0)


def stubs() -> tuple[Any, Any]:
    """The messages and the service of the protocol.

    Raises:
        InputError: they are not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError as error:
        raise InputError(
            "the load test needs the protocol of TensorFlow Serving; "
            "run `pip install tensorflow-serving-api`"
        ) from error
    return predict_pb2, prediction_service_pb2_grpc


def batched(signature: Any, most: int, wait: float) -> Call:
    """A signature that answers the rows of several requests at once.

    Args:
        signature: of a loaded SavedModel.
        most: rows in a batch.
        wait: seconds for which a batch is kept open.
    """
    specs = signature.structured_input_signature[1]
    given, returned = sorted(specs), sorted(signature.structured_outputs)

    @tf.nondifferentiable_batch_function(
        1, most, round(1e6 * wait), max_enqueued_batches=MOST_WAITING, autograph=False
    )
    def together(*values: tf.Tensor) -> list[tf.Tensor]:
        answers = signature(**dict(zip(given, values, strict=True)))
        return [answers[name] for name in returned]

    @tf.function(input_signature=[specs[name] for name in given], autograph=False)
    def call(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(returned, together(*values), strict=True))

    return lambda **inputs: call(*(inputs[name] for name in given))


def answer(calls: list[Call], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Answers a request, given and returned as `TensorProto` by name.

    Args:
        calls: the ways to answer: where the first refuses it, the next is tried. What is refused
            in a batch may be another request's fault.
        inputs: of the request.

    Raises:
        tf.errors.InvalidArgumentError: all refuse it.
    """
    tensors = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in inputs.items()}
    for call in calls[:-1]:
        try:
            found = call(**tensors)
            break
        except tf.errors.InvalidArgumentError:
            continue
    else:
        found = calls[-1](**tensors)
    return {name: tf.make_tensor_proto(value.numpy()) for name, value in found.items()}


def reason(error: Exception) -> str:
    """The model's own words where an assertion of it failed, else the first line."""
    found = ASSERTION.search(str(error))
    return found[1] if found else str(error).splitlines()[0]


def start(model: Any, batch: int = 0, wait: float = 0.005) -> tuple[grpc.Server, int]:
    """Starts a server at a free port of this machine.

    Args:
        model: a loaded SavedModel, which must live as long as the server does.
        batch: most rows in a batch; 0 forms none.
        wait: seconds for which a batch is kept open.

    Returns:
        The server and its port.

    Raises:
        InputError: the protocol is not installed.
    """
    messages, service = stubs()
    calls = {
        name: [*([batched(signature, batch, wait)] if batch else []), signature]
        for name, signature in model.signatures.items()
    }

    def predict(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        name = request.model_spec.signature_name
        if name not in calls:
            known = ", ".join(calls)
            context.abort(grpc.StatusCode.NOT_FOUND, f"no signature {name!r}; has {known}")
        try:
            found = answer(calls[name], request.inputs)
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(error))
        response = messages.PredictResponse(model_spec=request.model_spec)
        for key, proto in found.items():
            response.outputs[key].CopyFrom(proto)
        return response

    servicer = type("Servicer", (service.PredictionServiceServicer,), {"Predict": predict})
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[(SIZE, LARGEST)])
    service.add_PredictionServiceServicer_to_server(servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main(options: Options) -> None:
    """Serves until the input ends."""
    model = tf.saved_model.load(str(options.model))
    server, port = start(model, options.batch, options.wait / 1000)
    say(f"port {port}", result=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
