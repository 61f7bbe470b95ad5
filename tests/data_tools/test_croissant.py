"""`croissant.json` of a prepared directory: files that are there, images that mlcroissant reads."""

import json
from pathlib import Path

import pytest

from data_tools.sources.manifest import load
from tagnet.system.checksums import read_checksums, sha256


def test_every_file_is_there_with_its_checksum(prepared: Path) -> None:
    content = json.loads((prepared / "croissant.json").read_text())
    files = {file["contentUrl"]: file["sha256"] for file in content["distribution"]}
    assert files == {name: sha256(prepared / name) for name in files}
    later = {"dataset.json", "features.json", "dataset_info.json", "croissant.json"}
    later |= {"label_ids.labels.txt", "tag_ids.labels.txt"}
    assert read_checksums(prepared).keys() - files.keys() == later
    assert content["description"].startswith("60 images of manifest with 12 tags and 5 labels")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
def test_mlcroissant_reads_the_images(prepared: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="of the extra dev")
    data = mlcroissant.Dataset(jsonld=str(prepared / "croissant.json"))
    issues = data.metadata.ctx.issues
    assert not issues.errors
    unknown = {warning.split('"')[1].rpartition("/")[2] for warning in issues.warnings}
    assert unknown == {"citeAs", "datePublished", "license"}  # only the user knows them
    records = list(data.records("images"))
    manifest = load(prepared / "manifest.jsonl")
    assert [one["images/image_id"].decode() for one in records] == list(manifest["image_id"])
    for name in ("tags", "labels"):
        found = [[text.decode() for text in one[f"images/{name}"]] for one in records]
        assert found == list(manifest[name])
