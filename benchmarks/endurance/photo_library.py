"""A made-up photo library of any size, an image encoder of a few numbers, and a model for them.

The photographs are pieces of the example photos, 64 × 64 pixels, each another one, with two of
`WORDS` as keywords in every second. The encoder averages and flattens pixels, so that what is
measured over such a library is all but the CNN.
"""

import io
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"
SIDE = 64  # pixels of a photograph
SEEN = 8  # pixels that the encoder sees of it; D is 3 · SEEN²
IN_FOLDER = 1000
TRAINED_ON = 600
WORDS = ("beach", "dog", "forest", "night", "portrait", "snow", "street", "water")
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{}'
    "</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def write_photographs(folder: Path, count: int) -> None:
    """Writes `count` photographs, a thousand a folder; those that are there stay."""
    rng = np.random.default_rng(0)
    pieces = _pieces(rng)
    for number, image in zip(range(count), pieces, strict=False):
        path = photograph(folder, number)
        words = rng.choice(WORDS, 2, replace=False) if number % 2 else ()
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        packet = PACKET.format("".join(f"<rdf:li>{word}</rdf:li>" for word in words))
        content = io.BytesIO()
        # The comment makes the bytes of two equal pieces differ.
        image.save(content, "JPEG", xmp=packet.encode(), comment=str(number).encode())
        path.write_bytes(content.getvalue())


def photograph(folder: Path, number: int) -> Path:
    """Where a photograph is."""
    return folder / f"{number // IN_FOLDER:05d}" / f"{number:07d}.jpg"


def _pieces(rng: np.random.Generator) -> Iterator[Image.Image]:
    examples = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    small = [image.resize((4 * SIDE, 4 * SIDE)) for image in examples]
    for image in itertools.cycle(small):
        left, top = rng.integers(0, 3 * SIDE, 2).tolist()
        yield image.crop((left, top, left + SIDE, top + SIDE))


def write_encoder(path: Path) -> None:
    """Writes an ONNX file that gives the pixels of an image made small, [N, 3 · SEEN²]."""
    import onnx
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SEEN, SEEN])
    phi = helper.make_tensor_value_info("phi", TensorProto.FLOAT, ["n", 3 * SEEN**2])
    node = helper.make_node("Flatten", ["images"], ["phi"])
    graph = helper.make_graph([node], "pixels", [images], [phi])
    opset = [helper.make_opsetid("", 18)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    settings = {"size": SEEN, "do_normalize": False, "resample": 2}
    (path.parent / "preprocessor_config.json").write_text(json.dumps(settings))


def train(folder: Path, photos: Path) -> Path:
    """Trains a small `ltwin` on the first photographs; returns the run directory.

    Args:
        folder: for the data set and the run; a finished run in it is taken.
        photos: of `write_photographs`, at least `TRAINED_ON`.
    """
    run = folder / "run"
    if (run / "metrics.json").exists():
        return run
    encoder, table = folder / "encoder" / "pixels.onnx", folder / "table.csv"
    write_encoder(encoder)
    table.write_text(_table(photos), encoding="utf-8")
    prepare = [f"--raw={table}", f"--backbone={encoder}", f"--out={folder / 'data'}"]
    prepare += ["--source=table", "--pools=open", "--encodings=id"]
    train = [f"--data={folder / 'data'}", f"--out={run}", "--arch=ltwin", "--feed=id"]
    train += ["--hidden=16", "--max_epochs=3"]
    for command in (["data_tools.prepare", *prepare], ["experiments.run", *train]):
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    return run


def _table(photos: Path) -> str:
    """Photographs with tags and labels; a label depends on a tag."""
    rng = np.random.default_rng(1)
    lines = ["path,tags,labels"]
    for number in range(TRAINED_ON):
        words = rng.choice(WORDS, 2, replace=False)
        labels = {"inside" if word in ("night", "portrait") else "outside" for word in words}
        path = photograph(photos, number).absolute()
        lines.append(f"{path},{'|'.join(words)},{'|'.join(sorted(labels))}")
    return "\n".join(lines) + "\n"
