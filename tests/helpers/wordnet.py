"""A tiny WordNet database, in the format of the original."""

from pathlib import Path

# Part of speech, offset, words, pointers (symbol, offset, part of speech).
SYNSETS = [
    ("n", "00000100", ["animal", "Beast"], [("~", "00000200", "n"), ("~", "00000300", "n")]),
    ("n", "00000200", ["dog", "domestic_dog"], [("@", "00000100", "n"), ("%p", "00000400", "n")]),
    ("n", "00000300", ["cat"], [("@", "00000100", "n"), ("%p", "00000400", "n")]),
    ("n", "00000400", ["tail"], [("#p", "00000200", "n"), ("#p", "00000300", "n")]),
    ("n", "00000500", ["Cat", "guy"], [("+", "00000100", "v"), ("+", "00000100", "v")]),
    ("v", "00000100", ["chase", "dog"], [("@", "00000200", "v"), ("+", "00000500", "n")]),
    ("v", "00000200", ["pursue"], [("~", "00000100", "v"), ("@", "00000200", "v")]),
    ("a", "00000100", ["big(a)", "large"], [("&", "00000200", "a"), ("!", "00000300", "a")]),
    ("a", "00000200", ["huge"], [("&", "00000100", "s")]),
    ("a", "00000300", ["small(ip)"], [("!", "00000100", "a"), ("=", "00000100", "n")]),
    ("r", "00000100", ["quickly"], [("\\", "00000200", "a")]),
    ("r", "00000200", ["alone"], []),
]


def line(pos: str, offset: str, words: list[str], pointers: list[tuple[str, str, str]]) -> str:
    fields = [offset, "03", pos, f"{len(words):02x}"]
    fields += [field for word in words for field in (word, "0")]
    fields += [f"{len(pointers):03d}"]
    fields += [field for pointer in pointers for field in (*pointer, "0000")]
    return " ".join([*fields, "| a gloss, with | and 00000999 n 0000 in it  "])


def write(folder: Path, synsets: list = SYNSETS) -> Path:
    folder.mkdir(exist_ok=True)
    for pos, name in (("n", "noun"), ("v", "verb"), ("a", "adj"), ("r", "adv")):
        lines = ["  1 This software and database is being provided to you", "  2  "]
        lines += [line(*synset) for synset in synsets if synset[0] == pos]
        (folder / f"data.{name}").write_text("\n".join(lines) + "\n")
    return folder
