"""Image encoders in ONNX files, run by ONNX Runtime, as sources of Φ.

What Φ depends on beside the file is settled when the file is chosen, and recorded with its
checksum, so that a model trained on such features asks for the same.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tagnet.backbones.preparation import Changes, Preparation, preparation_of
from tagnet.errors import InputError, reason_of
from tagnet.system.checksums import sha256

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
QUIET = 3  # ONNX Runtime's level for errors; its warnings concern whoever exported the file
MOST = 300  # characters of ONNX Runtime's reason
FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclasses.dataclass(frozen=True)
class OnnxSettings:
    """An encoder, and all that its features depend on.

    Attributes:
        file: its absolute path.
        digests: SHA-256 of the file and of those beside it that hold its weights, by name.
        output: the output that is Φ.
        pooling: one of `catalogue.POOLINGS`: how tokens [N, T, D] or a map become a vector.
        preparation: of photos.
    """

    file: str
    digests: tuple[tuple[str, str], ...]
    output: str
    pooling: str
    preparation: Preparation

    def as_json(self) -> dict[str, Any]:
        """As `dataset.json` and a SavedModel record it."""
        return dataclasses.asdict(self) | {"digests": dict(self.digests)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "OnnxSettings":
        """Reads what `as_json` gave."""
        return cls(
            values["file"],
            tuple(values["digests"].items()),
            values["output"],
            values["pooling"],
            Preparation.of(values["preparation"]),
        )


@dataclasses.dataclass(frozen=True)
class Graph:
    """What an encoder's file says of itself.

    Attributes:
        input: the name of its only input.
        dtype: of that input.
        channels_first: whether images are [N, 3, H, W], or [N, H, W, 3].
        side: height and width, where they are fixed.
        one: whether it takes one image at a time.
        outputs: the shape of each output, as the file spells it.
    """

    input: str
    dtype: type
    channels_first: bool
    side: int | None
    one: bool
    outputs: dict[str, list[Any]]


def chosen(
    file: Path, changes: Changes, output: str | None = None, pooling: str | None = None
) -> OnnxSettings:
    """Settles what the features of an encoder depend on.

    Args:
        file: of the encoder.
        changes: the flags about the preparation.
        output: the name of the output; None takes the only one.
        pooling: None takes vectors as they are and averages a map.

    Raises:
        InputError: the file cannot be used, or leaves something open that no flag settles.
    """
    graph = graph_of(file)
    if output is None and len(graph.outputs) > 1:
        raise InputError(
            f"{file}: has {len(graph.outputs)} outputs; choose one with --onnx_output: "
            + _listed(graph.outputs)
        )
    if output is not None and output not in graph.outputs:
        raise InputError(
            f"--onnx_output must be one of {_listed(graph.outputs)}; received {output!r}"
        )
    output = output or next(iter(graph.outputs))
    rank = len(graph.outputs[output])
    if rank == 3 and pooling in (None, "none"):
        raise InputError(
            f"{file}: the output {output} is tokens {_shape(graph.outputs[output])}; "
            "give --onnx_pooling=mean or cls (the first token)"
        )
    fits = {2: ("none",), 3: ("mean", "cls"), 4: ("mean",)}.get(rank, ())
    pooling = pooling or (fits[0] if fits else "none")
    if pooling not in fits:
        raise InputError(
            f"{file}: the output {output} is {_shape(graph.outputs[output])}, for which "
            f"--onnx_pooling must be one of {', '.join(fits) or 'none of them'}; "
            f"received {pooling!r}"
        )
    preparation = preparation_of(file, changes, graph.side)
    return OnnxSettings(str(file.absolute()), _digests(file), output, pooling, preparation)


def recorded(values: Mapping[str, Any], moved: Path | None) -> OnnxSettings:
    """The encoder that features were computed with, found again.

    Args:
        values: of `OnnxSettings.as_json`.
        moved: where the file is now; None looks where it was.

    Raises:
        InputError: it is not there, or is another one.
    """
    settings = OnnxSettings.of(values)
    file = moved or Path(settings.file)
    if not file.is_file():
        raise InputError(
            f"{file}: the encoder of the model's features is not there; "
            "give --weights=FILE.onnx, where it is now"
        )
    found = tuple(sorted(digest for _, digest in _digests(file)))
    if found != tuple(sorted(digest for _, digest in settings.digests)):
        raise InputError(
            f"{file}: must be the file that the model's features were computed with "
            f"(SHA-256 {settings.digests[0][1][:12]}…); received another one"
        )
    return dataclasses.replace(settings, file=str(file.absolute()))


@dataclasses.dataclass(frozen=True)
class Build:
    """What `Backbone.build` is: equal for equal settings, and small when it is pickled."""

    settings: OnnxSettings

    def __call__(self, weights: Path | None = None) -> Callable[[np.ndarray], np.ndarray]:
        """Opens the file that the settings name."""
        return onnx_network(self.settings)


def onnx_network(settings: OnnxSettings) -> Callable[[np.ndarray], np.ndarray]:
    """The encoder as a function of prepared images, float32 [B, size, size, 3] → [B, D].

    Args:
        settings: of `chosen` or `recorded`.
    """
    file = Path(settings.file)
    graph, session = graph_of(file), _session(file)

    def run(images: np.ndarray) -> np.ndarray:
        ordered = images.transpose(0, 3, 1, 2) if graph.channels_first else images
        ordered = np.ascontiguousarray(ordered, graph.dtype)
        parts = np.split(ordered, len(ordered)) if graph.one else [ordered]
        try:
            answers = [session.run([settings.output], {graph.input: part})[0] for part in parts]
        except Exception as error:  # ONNX Runtime has exceptions of its own for each failure
            raise InputError(f"{file}: cannot be run ({reason_of(error)[:MOST]})") from error
        phi = _pooled(np.concatenate(answers).astype(np.float32), settings.pooling, graph)
        if not (np.abs(phi) <= FLOAT16_MAX).all():  # catches NaN too
            raise InputError(
                f"{file}: a feature must be finite and at most {FLOAT16_MAX:.0f} in size "
                f"(float16); received {phi[~(np.abs(phi) <= FLOAT16_MAX)][0]} in {settings.output}"
            )
        return phi

    return run


@functools.cache
def dim_of(settings: OnnxSettings) -> int:
    """D, found by running the encoder on a black photo.

    Raises:
        InputError: it cannot be run.
    """
    size = settings.preparation.size
    phi = onnx_network(settings)(np.zeros([1, size, size, 3], np.float32))
    if phi.ndim != 2 or len(phi) != 1:
        raise InputError(
            f"{settings.file}: must give one vector for an image; received {list(phi.shape)} "
            f"from {settings.output}"
        )
    return phi.shape[1]


def _pooled(answer: np.ndarray, pooling: str, graph: Graph) -> np.ndarray:
    if pooling == "cls":
        return answer[:, 0]
    if pooling == "mean" and answer.ndim == 4:
        return answer.mean(axis=(2, 3) if graph.channels_first else (1, 2))
    return answer.mean(axis=1) if pooling == "mean" else answer


# --- The file ---------------------------------------------------------------------------


@functools.cache
def _session(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"--backbone={file}: needs ONNX Runtime; run `pip install 'tagnet[onnx]'`"
        ) from error
    if not file.is_file():
        raise InputError(f"{file}: cannot be read (no such file)")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    # Several threads run the encoder at once: one that spins takes the core from another.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=[name for name in PROVIDERS if name in available]
        )
    except Exception as error:  # ONNX Runtime has exceptions of its own for each failure
        raise InputError(f"{file}: is not a valid ONNX file ({reason_of(error)[:MOST]})") from error


def graph_of(file: Path) -> Graph:
    """Reads how an encoder takes images and what it gives.

    Raises:
        InputError: there is no such file or no ONNX Runtime, or it does not take images.
    """
    session = _session(file)
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise InputError(
            f"{file}: must take images alone; received the inputs "
            f"{', '.join(part.name for part in inputs)}; export the image encoder by itself"
        )
    (images,) = inputs
    shape = list(images.shape)
    if images.type not in TYPES or len(shape) != 4:
        raise InputError(
            f"{file}: must take float images of four dimensions; received {images.type} "
            f"{_shape(shape)} for {images.name}"
        )
    first, last = _is_colour(shape[1]), _is_colour(shape[3])
    if first == last:
        raise InputError(
            f"{file}: must take images [N, 3, H, W] or [N, H, W, 3]; received {_shape(shape)}; "
            "export it again with three channels fixed"
        )
    sides = shape[2:] if first else shape[1:3]
    fixed = [side for side in sides if isinstance(side, int)]
    if len(set(fixed)) > 1 or (isinstance(shape[0], int) and shape[0] != 1):
        raise InputError(
            f"{file}: must take square images, one or any number at once; received {_shape(shape)}"
        )
    return Graph(
        images.name,
        TYPES[images.type],
        first,
        fixed[0] if fixed else None,
        shape[0] == 1,
        {output.name: list(output.shape) for output in session.get_outputs()},
    )


def _is_colour(size: int | str | None) -> bool:
    """Whether a dimension is the three channels: by its size, or by the name of a free one."""
    return size == 3 or (isinstance(size, str) and "channel" in size.lower())


def _digests(file: Path) -> tuple[tuple[str, str], ...]:
    """Of the file, and of the files beside it where exporters put weights beyond 2 GB."""
    starts = (f"{file.name}_data", f"{file.name}.data")
    beside = [path for path in file.parent.iterdir() if path.name.startswith(starts)]
    return tuple((path.name, sha256(path)) for path in [file, *sorted(beside)])


def _shape(shape: list[Any]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _listed(outputs: Mapping[str, list[Any]]) -> str:
    return ", ".join(f"{name} {_shape(shape)}" for name, shape in outputs.items())
