"""Builds the demo data set and the example photos from photos with captions.

    python -m data_tools.build_demo --photos=DIR --captions=train.csv --label_names=labels.tsv
        --word_vectors=FILE --wordnet=DIR --credited=DIR [--out=REPOSITORY]

The same inputs on the same machine give the same bytes.
"""

import csv
import io
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models import KeyedVectors
from gensim.parsing.preprocessing import STOPWORDS
from PIL import Image

from data_tools.sources import demo
from data_tools.vectors.word_vectors import look_up, wanted
from data_tools.vectors.wordnet import build as build_wordnet
from tagnet.backbones.features import BACKBONES, extract
from tagnet.data.tags import Vocabulary
from tagnet.errors import InputError
from tagnet.photos.images import read_image
from tagnet.system import console
from tagnet.system.files import atomic_write, read_text, write_text
from tagnet.system.runtime import import_tensorflow

# Examples whose labels are, all but a few, among those of the demo data set.
EXAMPLES = (
    "000000000785 000000000885 000000001268 000000005001 000000006723 000000007281 "
    "000000008762 000000011149 000000011511 000000126107 000000165518 000000183709 "
    "000000205401 000000214753 000000349860 000000377575 000000423617 000000460229 "
    "000000519208 000000568290"
).split()
EXAMPLE_SIDE = 320  # pixels


def content_words(caption: str) -> list[str]:
    """Lists a caption's words of two letters or more, without stop words, each once.

    >>> content_words("A man's t-shirt and the MAN in 2 shirts")
    ['man', 'shirt', 'shirts']
    """
    words = re.findall(r"[a-z]{2,}", caption.lower())
    return list(dict.fromkeys(word for word in words if word not in STOPWORDS))


def read_label_names(path: str | Path) -> dict[str, str]:
    """Reads `number<TAB>name` lines; raises `InputError` for any other line."""
    names = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split("\t")
        if len(fields) != 2:
            raise InputError(f"{path}: line {number} must be number, tab, name; received {line!r}")
        names[fields[0]] = fields[1]
    return names


def read_rows(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads a CSV file; fields may hold line ends, and quotes that are not doubled.

    Raises:
        InputError: a column is missing, or a row has more or fewer fields than the header.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), restkey="")
    rows = []
    for row in reader:
        if "" in row or None in row.values():
            raise InputError(
                f"{path}: the row that ends in line {reader.line_num} must have "
                f"{len(reader.fieldnames or ())} fields, as the header; is a quote left open?"
            )
        rows.append(row)
    if missing := set(columns).difference(reader.fieldnames or ()):
        raise InputError(
            f"{path}: must have the columns {', '.join(columns)}; "
            f"{', '.join(sorted(missing))} not found"
        )
    return rows


def manifest_rows(
    captions: Sequence[Mapping[str, str]], names: Mapping[str, str], min_images: int = 2
) -> list[dict[str, Any]]:
    """Turns captions into manifest rows; only words of `min_images` images become tags.

    Args:
        captions: rows with ImageID, Labels (numbers between blanks), Caption.
        names: label name by number.
        min_images: a word of fewer images says nothing about another image.

    Raises:
        InputError: a row has a label number without a name.
    """
    words = [content_words(row["Caption"]) for row in captions]
    images = Counter(word for tags in words for word in tags)
    rows = []
    for row, tags in zip(captions, words, strict=True):
        numbers = row["Labels"].split()
        if unknown := [number for number in numbers if number not in names]:
            raise InputError(
                f"image {row['ImageID']}: labels must be one of {', '.join(names)}; "
                f"received {unknown[0]!r}"
            )
        rows.append(
            {
                "image_id": Path(row["ImageID"]).stem,
                "tags": [word for word in tags if images[word] >= min_images],
                "labels": [names[number] for number in numbers],
            }
        )
    return rows


def eight_bits(features: np.ndarray) -> dict[str, np.ndarray]:
    """Packs non-negative features; code 255 of a column stands for its maximum.

    Args:
        features: float32 [N, D].

    Returns:
        codes uint8 [N, D] and scale float32 [D]; their product is the features, off by
        at most half the scale.
    """
    scale = (features.max(axis=0) / 255).astype(np.float32)
    codes = np.rint(features / np.where(scale > 0, scale, 1)).clip(0, 255)
    return {"codes": codes.astype(np.uint8), "scale": scale}


def word2vec_table(path: str | Path, words: Sequence[str]) -> dict[str, np.ndarray]:
    """Takes the vectors of `words` out of a binary word2vec file; unknown words are left out.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        table = KeyedVectors.load_word2vec_format(str(path), binary=True)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is not a binary word2vec file ({error})") from error
    known = [word for word in words if word in table]
    return {"words": np.array(known), "vectors": table[known].astype(np.float16)}


def wordnet_table(database: str | Path, words: Sequence[str]) -> dict[str, np.ndarray]:
    """Makes vectors from a WordNet database; those that `word_vectors` finds for `words` are kept.

    Raises:
        InputError: the database is missing or damaged.
    """
    vocabulary = Vocabulary(tuple(words))
    beta, _ = look_up(vocabulary, build_wordnet(Path(database), wanted=wanted(vocabulary)))
    return {
        "words": np.array(words)[beta.known],
        "vectors": beta.vectors[beta.known].astype(np.float16),
    }


def write_examples(credited: Path, out: Path) -> None:
    """Writes the photographs of `EXAMPLES`, downscaled, with their credit lines and tags."""
    columns = ["file", "labels", "licence", "licence_url", "flickr_url", "coco_url", "captions"]
    rows = {row["file"]: row for row in read_rows(credited / "credits.csv", columns)}
    if missing := [name for name in EXAMPLES if f"{name}.jpg" not in rows]:
        raise InputError(
            f"{credited / 'credits.csv'}: must have a row for each example; "
            f"{missing[0]}.jpg not found"
        )
    with atomic_write(out) as folder:
        folder.mkdir()
        with open(folder / "credits.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file, [*columns[:4], "photo_page", *columns[4:], "changes"], lineterminator="\n"
            )
            writer.writeheader()
            for name in EXAMPLES:
                photo = read_image(credited / "images" / f"{name}.jpg")
                photo.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.LANCZOS)
                photo.save(folder / f"{name}.jpg", quality=85, optimize=True)
                row = rows[f"{name}.jpg"]
                # Flickr's file name begins with the photo's id, and its page names the author.
                flickr_id = Path(row["flickr_url"]).name.split("_")[0]
                page = f"https://www.flickr.com/photo.gne?id={flickr_id}"
                changes = f"downscaled to {EXAMPLE_SIDE} pixels, saved as JPEG again"
                writer.writerow({**row, "photo_page": page, "changes": changes})
        write_text(folder / "tags.csv", example_tags([rows[f"{name}.jpg"] for name in EXAMPLES]))


def example_tags(rows: Sequence[Mapping[str, str]]) -> str:
    """The table that `experiments.annotate` reads: the words of the first caption, the labels."""
    lines = ["path,tags,labels"]
    for row in rows:
        tags = content_words(row["captions"].split(" | ")[0])
        lines.append(f"{row['file']},{'|'.join(tags)},{'|'.join(row['labels'].split(';'))}")
    return "\n".join(lines) + "\n"


def write_packed(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed `.npz`, whole or not at all."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def build(
    photos: str | Path,
    captions: str | Path,
    label_names: str | Path,
    word_vectors: str | Path,
    wordnet: str | Path,
    credited: str | Path,
    out: str | Path = ".",
) -> None:
    """Makes the five artefacts and prints what 8 bits cost.

    Args:
        photos: folder of the captioned photographs.
        captions: CSV file with the columns ImageID, Labels, Caption.
        label_names: file of label numbers and names, separated by a tab.
        word_vectors: file in binary word2vec format.
        wordnet: folder of the WordNet 3.0 database.
        credited: folder with credits.csv and images/.
        out: the repository; gets data_tools/demo_data and examples/photos.

    Raises:
        InputError: an input is missing, damaged, or does not fit the others.
    """
    captioned = read_rows(captions, ["ImageID", "Labels", "Caption"])
    rows = manifest_rows(captioned, read_label_names(label_names))
    tags = sorted({tag for row in rows for tag in row["tags"]})
    words = {
        "w2v": word2vec_table(word_vectors, tags),
        "wnet": wordnet_table(wordnet, tags),
    }
    write_examples(Path(credited), Path(out) / "examples" / "photos")

    started = time.perf_counter()
    features = extract(
        BACKBONES["efficientnet_lite0"], [Path(photos) / row["ImageID"] for row in captioned]
    )
    console.say(f"features of {len(features):,} photos in {time.perf_counter() - started:.0f} s")

    folder = Path(out) / "data_tools" / "demo_data"
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / "manifest.jsonl", "".join(lines))
    write_packed(folder / "features.npz", eight_bits(features))
    for encoding, name in demo.WORD_TABLES.items():
        write_packed(folder / name, words[encoding])

    decoded = demo.load(folder).features
    cosine = (features * decoded).sum(axis=1) / (
        np.linalg.norm(features, axis=1) * np.linalg.norm(decoded, axis=1)
    )
    for encoding, table in words.items():
        console.say(f"{encoding}: {len(table['words'])} of {len(tags)} tags have a vector")
    console.say(f"cosine of a feature row with its 8-bit row: mean {cosine.mean():.6f}")
    for path in sorted(folder.iterdir()):
        console.say(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


@dataclass(frozen=True)
class Options:
    """The flags: where the originals are."""

    photos: Path | None = console.option(None, "folder of the captioned photos (required)")
    captions: Path | None = console.option(
        None, "CSV file with columns ImageID, Labels, Caption (required)"
    )
    label_names: Path | None = console.option(
        None, "file of label numbers and names, tab-separated (required)"
    )
    word_vectors: Path | None = console.option(None, "binary word2vec file (required)")
    wordnet: Path | None = console.option(None, "folder of the WordNet 3.0 database (required)")
    credited: Path | None = console.option(None, "folder with credits.csv and images/ (required)")
    out: Path = console.option(Path("."), "root of the repository")


def main(options: Options) -> None:
    """Runs the command."""
    values = asdict(options)
    if missing := [name for name, value in values.items() if value is None]:
        raise InputError(f"--{missing[0]} is missing (see --help)")
    import_tensorflow()
    build(**values)


if __name__ == "__main__":
    console.run(Options, main, str(__doc__))
