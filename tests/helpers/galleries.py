"""What galleries are made of: photos, their answers, a model."""

from pathlib import Path
from typing import Any

from experiments.annotation.batch import Answer, Job
from experiments.annotation.gallery import Model

HOSTILE = """</script><script>window.hacked = 1</script><img src=x onerror="hacked=1">&amp;'\x01"""


def job(name: str, labels: tuple[str, ...] | None = None, folder: Path = Path("none")) -> Job:
    return Job(name, folder / name, (), labels=labels)


def answer(name: str, shares: bool = True, **changes: Any) -> Answer:
    """A dog, perhaps a cat, by two neighbours; as a line of JSON has it."""
    split = {"picture": 1.0, "tags": 0.5, "neighbours": [0.25, -0.75], "constant": 0.125}
    near = [("one", 0.5, ["beach"], ["dog"]), ("two", 0.75, ["sofa"], [])]
    usual = {
        "photo": name,
        "tags": ["beach"],
        "unknown_tags": ["zzz"],
        "neighbours_by": "tags",
        "labels": [
            {"label": label, "probability": p, "score": 1.0, "shares": split if shares else None}
            for label, p in (("dog", 0.9), ("cat", 0.4))
        ],
        "neighbours": [
            dict(zip(("image_id", "distance", "tags", "labels"), entry, strict=True))
            for entry in near
        ],
    }
    return usual | changes


def model(*asked: str, explains: bool = True) -> Model:
    return Model("ltwin, trained on set", asked or ("dog",), 50, "Jaccard", explains)
