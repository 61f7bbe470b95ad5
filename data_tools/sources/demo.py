"""The demo data set that ships with tagnet: its files and how to read them.

`manifest.jsonl`: one image a line, with image_id, tags and labels.
`features.npz`: Φ in 8 bits; codes uint8 [N, D] times scale float32 [D] are the features.
`word2vec.npz`: words [V] and their vectors float16 [V, 300].
`wordnet.npz`: likewise with vectors float16 [V, 650].

`data_tools/build_demo.py` made them; `DATA_LICENSES.md` says from what.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data_tools.vectors.vector_files import WordTable
from tagnet.errors import InputError
from tagnet.system.files import read_arrays, read_text

FOLDER = Path(__file__).parents[1] / "demo_data"
WORD_TABLES = {"w2v": "word2vec.npz", "wnet": "wordnet.npz"}


@dataclass(frozen=True)
class Demo:
    """The demo data set in memory.

    Attributes:
        manifest: N rows of image_id (str), tags and labels (lists of str).
        features: float32 [N, D], Φ of EfficientNet-Lite0.
        word_tables: for each encoding the tags that have a vector, and the vectors; those of
            `w2v` are of unit length.
    """

    manifest: pd.DataFrame
    features: np.ndarray
    word_tables: Mapping[str, WordTable]


def load(folder: str | Path = FOLDER) -> Demo:
    """Reads the demo data set.

    Args:
        folder: where its four files are; the shipped ones unless told otherwise.

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
    tables = {encoding: _read_word_table(folder / name) for encoding, name in WORD_TABLES.items()}
    return Demo(manifest, codes * scale, tables)


def _read_word_table(path: Path) -> WordTable:
    arrays = read_arrays(path, "words", "vectors")
    words, vectors = arrays["words"], arrays["vectors"]
    if vectors.ndim != 2 or words.shape != vectors.shape[:1]:
        raise InputError(
            f"{path}: must hold one vector per word; received words {list(words.shape)} "
            f"and vectors {list(vectors.shape)}"
        )
    return WordTable(tuple(words.tolist()), vectors.astype(np.float32))


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
