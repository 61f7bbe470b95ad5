"""Writes `croissant.json`: what a prepared directory holds, in the Croissant format 1.0.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html. `mlcroissant` reads names, tags and
labels of the images by it. Nothing here needs mlcroissant.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagnet.system.files import write_json

CROISSANT = "croissant.json"
MANIFEST = "manifest.jsonl"
KINDS = {
    ".jsonl": "application/jsonlines",
    ".txt": "text/plain",
    ".json": "application/json",
    ".npz": "application/x-npz",
    ".tfrecord": "application/x-tfrecord",
}
DESCRIBED = {
    "image_id": "name of the image",
    "tags": "what people wrote of the image",
    "labels": "what the image shows",
}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty"),
            *("fileObject", "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key"),
            *("md5", "parentField", "path", "recordSet", "references", "regex", "repeated"),
            *("replace", "samplingRate", "separator", "source", "subField", "transform"),
        )
    },
}


def write_croissant(
    directory: Path, summary: Mapping[str, Any], checksums: Mapping[str, str]
) -> None:
    """Writes `croissant.json`.

    The licence of the data is the user's to add; nothing here knows it.

    Args:
        directory: the prepared directory.
        summary: what `dataset.json` says: name, images, tags, labels.
        checksums: SHA-256 of the files that are described, by name.
    """
    files = {name: digest for name, digest in sorted(checksums.items()) if _kind(name)}
    fields = [_field(name, text) for name, text in DESCRIBED.items()]
    write_json(
        directory / CROISSANT,
        {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": re.sub(r"[^\w-]+", "_", summary["name"]).strip("_") or "images",
            "description": (
                f"{summary['images']:,} images of {summary['name']} with {summary['tags']:,} tags "
                f"and {summary['labels']:,} labels, prepared for tagnet."
            ),
            "version": "1.0.0",
            "distribution": [
                {
                    "@type": "cr:FileObject",
                    "@id": name,
                    "name": name,
                    "contentUrl": name,
                    "encodingFormat": _kind(name),
                    "sha256": digest,
                }
                for name, digest in files.items()
            ],
            "recordSet": [
                {
                    "@type": "cr:RecordSet",
                    "@id": "images",
                    "name": "images",
                    "description": "One record for each image, in row order.",
                    "key": {"@id": "images/image_id"},
                    "field": fields,
                }
            ],
        },
    )


def _kind(name: str) -> str | None:
    """The media type of a file; None of one that is not data."""
    return KINDS.get(Path(name).suffix) if name != "left_out.jsonl" else None


def _field(name: str, text: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": f"images/{name}",
        "description": text,
        "dataType": "sc:Text",
        **({} if name == "image_id" else {"repeated": True}),
        "source": {"fileObject": {"@id": MANIFEST}, "extract": {"column": name}},
    }
