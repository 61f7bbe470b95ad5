"""Damaged files: named in a line, made anew, or without harm; never a wrong result."""

import pytest

from reliability import matrix, page
from reliability.commands import COMMANDS, Command
from reliability.matrix import Damage, Lab, row

IMAGES = "data/images-00000-of-00004.tfrecord"
VARIABLES = "run/saved_model/1/variables/variables.index"


@pytest.mark.parametrize(
    ("name", "case", "outcome"),
    [
        ("prepare again", Damage("bit flipped", "data/vocabulary.txt", 0.5), "rebuilt"),
        ("run with tags", Damage("bit flipped", IMAGES, 0.5), "detected"),
        ("annotate", Damage("bit flipped", VARIABLES, 0.5), "detected"),
    ],
)
def test_it_is_noticed(call, lab: Lab, name: str, case: Damage, outcome: str) -> None:
    found = call(row, lab, COMMANDS[name], case)
    assert found.outcome == outcome, found.said


@pytest.mark.large
def test_all_of_it_is_noticed(lab: Lab) -> None:
    found = list(matrix.rows(lab, matrix.damages))
    print(page.counted(found))
    assert [one for one in found if one.outcome == "wrong"] == []


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ("raise ValueError", "wrong"),  # it stops with a traceback
        ("open('out', 'w').write(text)", "wrong"),
        ("sys.exit('error: the file is damaged')", "wrong"),
        ("print('error: a.txt: is damaged', file=sys.stderr); sys.exit(2)", "detected"),
        ("open('a.txt', 'w').write('whole')", "rebuilt"),
        ("pass", "harmless"),
    ],
)
def test_each_outcome_is_told(call, tmp_path, lines: str, outcome: str) -> None:
    inputs = tmp_path / "made" / "inputs"
    inputs.mkdir(parents=True)
    (inputs / "a.txt").write_text("whole")
    (inputs / "reads.py").write_text(f"""import sys
text = open("a.txt").read()
if text != "whole":
    {lines}
""")
    case = Damage("truncated", "a.txt", 0.5)
    found = call(row, Lab(tmp_path), Command("reads", "reads", ()), case)
    assert found.outcome == outcome, found.said
