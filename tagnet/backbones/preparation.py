"""How a photo becomes the input of an encoder, as the encoder's own settings say.

`preprocessor_config.json` is what Hugging Face writes beside a model. Its fields are followed to
the pixel: Pillow resamples the whole photo, sides are rounded down, the crop is central.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tagnet.errors import InputError
from tagnet.system.files import read_json

CONFIG = "preprocessor_config.json"
FLAG = "--onnx_photos"
SQUEEZE = "squeeze"
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # as Pillow numbers them
CONVNEXT_WHOLE = 384  # from this size on ConvNeXt's processor squeezes and does not crop
# Processors whose `size` is the shorter side where it is one number; others squeeze to a square.
SHORTER_SIDE = ("CLIP", "ConvNext", "Bit")


@dataclasses.dataclass(frozen=True)
class Preparation:
    """RGB → (x · scale − mean) / std of a central square.

    Attributes:
        size: height and width of the result, in pixels.
        resize: to how many pixels the photo's shorter side is resampled, at least `size`.
        squeeze: whether both sides are resampled to that.
        filter: one of `FILTERS`.
        scale: of the 256 levels.
        mean: of red, green and blue, after the scale.
        std: likewise.
    """

    size: int
    resize: int
    squeeze: bool
    filter: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Prepares an RGB image: float32 [size, size, 3]."""
        sides = [self.resize, self.resize]
        if not self.squeeze:
            long = int(self.resize * max(image.size) / min(image.size))
            sides[int(image.height > image.width)] = long
        kind = Image.Resampling(FILTERS.index(self.filter))
        # One pass after the other, since in which order Pillow takes them depends on its version.
        across = image.resize((sides[0], image.height), kind)
        resized = across.resize((sides[0], sides[1]), kind)
        left, top = (resized.width - self.size) // 2, (resized.height - self.size) // 2
        square = resized.crop((left, top, left + self.size, top + self.size))
        pixels = np.asarray(square, np.float32) * np.float32(self.scale)
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Preparation":
        """What `dataclasses.asdict` made JSON of."""
        return cls(**dict(values) | {"mean": tuple(values["mean"]), "std": tuple(values["std"])})


@dataclasses.dataclass(frozen=True)
class Changes:
    """What the flags say in place of a file, or instead of a field of it; None: nothing.

    Attributes:
        size, resize, filter, mean, std: fields of `Preparation`. `resize` is the shorter side,
            or `squeeze`; one number of `mean` or `std` holds for all three colours.
    """

    size: int | None = None
    resize: str | None = None
    filter: str | None = None
    mean: tuple[str, ...] | None = None
    std: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise InputError(f"{FLAG}: size must be at least 1; received {self.size}")
        if self.resize is not None and self.resize != SQUEEZE and not self.resize.isdecimal():
            raise InputError(
                f"{FLAG}: resize must be a number of pixels or {SQUEEZE}; received {self.resize!r}"
            )
        if self.filter is not None and self.filter not in FILTERS:
            raise InputError(
                f"{FLAG}: filter must be one of {', '.join(FILTERS)}; received {self.filter!r}"
            )
        for flag in ("mean", "std"):
            if (given := getattr(self, flag)) is not None:
                _colours(f"{FLAG}: {flag}", given, positive=flag == "std")

    @classmethod
    def parse(cls, parts: Sequence[str]) -> "Changes":
        """Reads the parts of the flag, such as `size=224` and `mean=0.485/0.456/0.406`.

        Raises:
            InputError: a part is something else, or a value cannot be.
        """
        fields = [field.name for field in dataclasses.fields(cls)]
        given: dict[str, Any] = {}
        for part in parts:
            name, _, value = part.partition("=")
            if name not in fields or name in given or not value:
                raise InputError(
                    f"{FLAG} must be fields FIELD=VALUE, each once, of {', '.join(fields)}; "
                    f"received {part!r}"
                )
            if name == "size" and not value.isdecimal():
                raise InputError(f"{FLAG}: size must be a number of pixels; received {value!r}")
            colours = tuple(value.split("/")) if name in ("mean", "std") else value
            given[name] = int(value) if name == "size" else colours
        return cls(**given)


def find(model: Path) -> Path | None:
    """The settings beside a model file, or above its folder `onnx`, as exports are published."""
    places = [model.parent] + ([model.parent.parent] if model.parent.name == "onnx" else [])
    return next((place / CONFIG for place in places if (place / CONFIG).is_file()), None)


def preparation_of(model: Path, changes: Changes, side: int | None) -> Preparation:
    """The preparation for a model file: the settings beside it, changed by the flags.

    Args:
        model: the file.
        changes: the flags.
        side: height and width of the images that the model takes, where it fixes them.

    Raises:
        InputError: something that cannot be guessed is missing, or the file asks for what
            is not done here.
    """
    config = find(model)
    if config is None:
        found: dict[str, Any] = {}
        if changes.mean is None or changes.std is None or not (changes.size or side):
            raise InputError(
                f"{model}: how to prepare photos for it is not known; put its {CONFIG} beside it, "
                f"or give {FLAG}=size=N,mean=R/G/B,std=R/G/B"
            )
    else:
        found = _read(config, whole=changes.size is None)
    found = dict[str, Any](scale=1 / 255, filter="bicubic") | found | _given(changes)
    found.setdefault("size", side)
    found.setdefault("resize", found["size"])
    found.setdefault("squeeze", False)
    for field in ("mean", "std"):
        if field not in found:
            raise InputError(f"{config}: has no image_{field}; give {FLAG}={field}=R/G/B")
    made = Preparation(**found)
    if made.resize < made.size:
        raise InputError(
            f"{config or model}: photos must be resized to at least the {made.size} pixels that "
            f"are cropped; received {made.resize}; give {FLAG}=size=N,resize=N"
        )
    if side is not None and made.size != side:
        raise InputError(
            f"{model}: takes images of {side} × {side} pixels; received {made.size} "
            f"({config or FLAG}); give {FLAG}=size={side}"
        )
    return made


def _given(changes: Changes) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if changes.size is not None:
        given |= {"size": changes.size, "resize": changes.size}
    if changes.resize is not None:
        given["squeeze"] = changes.resize == SQUEEZE
        if not given["squeeze"]:
            given["resize"] = int(changes.resize)
    if changes.filter is not None:
        given["filter"] = changes.filter
    for field in ("mean", "std"):
        if (numbers := getattr(changes, field)) is not None:
            given[field] = _colours(f"{FLAG}: {field}", numbers, positive=field == "std")
    return given


def _colours(where: str, values: Any, positive: bool) -> tuple[float, ...]:
    """One number or three → three."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    good = all(math.isfinite(number) and (number > 0 or not positive) for number in numbers)
    if len(numbers) not in (1, 3) or not good:
        kind = "positive numbers" if positive else "numbers"
        raise InputError(f"{where} must be one or three {kind}; received {values!r}")
    return tuple(numbers * (3 // len(numbers)))


# --- The fields of preprocessor_config.json ---------------------------------------------


def _read(path: Path, whole: bool) -> dict[str, Any]:
    """The fields of `Preparation` that a file settles; without `whole` not those of size."""
    config = read_json(path)
    found: dict[str, Any] = _geometry(path, config) if whole else {}
    if "resample" in config:
        number = config["resample"]
        if isinstance(number, bool) or number not in range(len(FILTERS)):
            raise InputError(f"{path}: resample must be 0 to 5; received {number!r}")
        found["filter"] = FILTERS[number]
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise InputError(f"{path}: rescale_factor must be a positive number; received {scale!r}")
    found["scale"] = float(scale)
    if not config.get("do_normalize", True):
        return found | {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    for field in ("mean", "std"):
        if (values := config.get(f"image_{field}")) is not None:
            given = [values] if isinstance(values, int | float) else values
            found[field] = _colours(f"{path}: image_{field}", given, positive=field == "std")
    return found


def _geometry(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """To what size photos are resampled, and what is cropped."""
    for field, wanted in (("do_resize", True), ("do_pad", False)):
        if config.get(field, wanted) not in (wanted, None):
            raise InputError(
                f"{path}: {field} must be {str(wanted).lower()}; received {config[field]!r}; "
                f"give {FLAG}=size=N"
            )
    size = config.get("size")
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    squeeze = False
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        resize = _pixels(path, "size", size["shortest_edge"])
    elif isinstance(size, dict) and set(size) == {"height", "width"}:
        resize, squeeze = _square(path, "size", size), True
    elif isinstance(size, int):
        resize = _pixels(path, "size", size)
        squeeze = not kind.startswith(SHORTER_SIDE)
    else:
        raise InputError(
            f"{path}: size must be a number, or have shortest_edge, or height and width; "
            f"received {size!r}"
        )
    if kind.startswith("ConvNext") and "crop_pct" in config:
        if resize >= CONVNEXT_WHOLE:
            return {"size": resize, "resize": resize, "squeeze": True}
        whole = int(resize / _positive(path, "crop_pct", config["crop_pct"]))
        return {"size": resize, "resize": whole, "squeeze": False}
    # Settings of processors that crop do not always say so.
    if config.get("do_center_crop", "crop_size" in config):
        crop = config.get("crop_size", resize)
        side = _square(path, "crop_size", crop) if isinstance(crop, dict) else crop
        return {
            "size": _pixels(path, "crop_size", side),
            "resize": resize,
            "squeeze": squeeze,
        }
    if not squeeze:
        raise InputError(
            f"{path}: without do_center_crop photos keep their own shapes; received size {size!r}; "
            f"give {FLAG}=size=N"
        )
    return {"size": resize, "resize": resize, "squeeze": True}


def _square(path: Path, field: str, sides: Mapping[str, Any]) -> int:
    if sides.get("height") != sides.get("width"):
        raise InputError(f"{path}: {field} must be a square; received {dict(sides)}")
    return _pixels(path, field, sides.get("height"))


def _pixels(path: Path, field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{path}: {field} must be a number of pixels; received {value!r}")
    return value


def _positive(path: Path, field: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{path}: {field} must be a positive number; received {value!r}")
    return float(value)
