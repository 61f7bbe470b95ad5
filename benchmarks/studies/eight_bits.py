"""Do the metrics move when the demo features are stored in 8 bits? Float16 beside them.

    python -m benchmarks.studies.eight_bits --photos=DIR --captions=train.csv --out=runs/eight-bits

The photographs are those that `data_tools/build_demo.py` was run on. The same splits,
tags and seeds; only the features differ.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.studies.demo_runs import HEADER, SEEDS, figures, row, versions
from data_tools.build_demo import read_rows
from data_tools.sources import demo
from tagnet.backbones.features import BACKBONES, extract

ARCHITECTURES = ("v_only", "ltn")  # the ones that read nothing but features


def write_table(photos: Path, captions: Path, folder: Path) -> None:
    """Writes the demo set's manifest, and float16 features of the photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [image["ImageID"] for image in read_rows(captions, ["ImageID", "Labels", "Caption"])]
    features = extract(BACKBONES["efficientnet_lite0"], [photos / name for name in names])
    np.savez(folder / "features.npz", features.astype(np.float16))
    manifest = demo.load().manifest
    lines = (json.dumps(image) + "\n" for image in manifest.to_dict("records"))
    (folder / "manifest.jsonl").write_text("".join(lines))


def main() -> None:
    """Prepares both sets, runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--captions", type=Path, required=True, help="their train.csv")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    options = parser.parse_args()
    raw = options.out / "float16-raw"
    if not raw.exists():
        write_table(options.photos, options.captions, raw)
    table = [f"--raw={raw / 'manifest.jsonl'}", f"--features={raw / 'features.npz'}"]
    sources = {
        "8 bits": ["--source=demo"],
        "float16": ["--source=table", *table, "--sizes=2600,600,1000"],
    }
    print(HEADER)
    for name, flags in sources.items():
        out = options.out / name.replace(" ", "-")
        prepare = [sys.executable, "-m", "data_tools.prepare", *flags, "--pools=open"]
        subprocess.run([*prepare, f"--out={out / 'data'}"], check=True, stdout=subprocess.DEVNULL)
        for arch in ARCHITECTURES:
            runs = [figures(arch, seed, out / "data", out) for seed in SEEDS]
            print(row(f"`{arch}`, {name}", runs))
    print(versions())


if __name__ == "__main__":
    main()
