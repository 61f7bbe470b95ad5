"""The demo data set that ships with tagnet: its files and how to read them.

`manifest.jsonl`: one image a line, with image_id, tags and labels.
`features.npz`: Φ in 8 bits; codes uint8 [N, D] times scale float32 [D] are the features.
`word2vec.npz`: words [V] and their vectors float16 [V, 300].

`data_tools/build_demo.py` made them; `DATA_LICENSES.md` says from what.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tagnet.files import InputError, read_arrays, read_text

FOLDER = Path(__file__).parent / "demo_data"


@dataclass(frozen=True)
class Demo:
    """The demo data set in memory.

    Attributes:
        manifest: N rows of image_id (str), tags and labels (lists of str).
        features: float32 [N, D], Φ of EfficientNet-Lite0.
        words: the V tags that have a vector.
        vectors: float32 [V, n], their word2vec vectors of unit length.
    """

    manifest: pd.DataFrame
    features: np.ndarray
    words: tuple[str, ...]
    vectors: np.ndarray


def load(folder: str | Path = FOLDER) -> Demo:
    """Reads the demo data set.

    Args:
        folder: where its three files are; the shipped ones unless told otherwise.

    Raises:
        InputError: a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder / "manifest.jsonl")
    path = folder / "features.npz"
    packed = read_arrays(path, "codes", "scale")
    codes, scale = packed["codes"], packed["scale"]
    if codes.dtype != np.uint8 or codes.shape != (len(manifest), *scale.shape):
        raise InputError(
            f"{path}: codes must be uint8 [{len(manifest)}, {scale.size}], a row for each image "
            f"and a column for each scale; received {codes.dtype} {list(codes.shape)}"
        )
    path = folder / "word2vec.npz"
    table = read_arrays(path, "words", "vectors")
    if table["vectors"].ndim != 2 or table["words"].shape != table["vectors"].shape[:1]:
        raise InputError(
            f"{path}: must hold a vector for each word; received words "
            f"{list(table['words'].shape)} and vectors {list(table['vectors'].shape)}"
        )
    return Demo(
        manifest=manifest,
        features=codes * scale,
        words=tuple(table["words"].tolist()),
        vectors=table["vectors"].astype(np.float32),
    )


def _read_manifest(path: Path) -> pd.DataFrame:
    columns = ["image_id", "tags", "labels"]
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append([row[column] for column in columns])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: line {number} must be a JSON object with {', '.join(columns)}; "
                f"received {line[:60]!r}"
            ) from error
    return pd.DataFrame(rows, columns=columns)
