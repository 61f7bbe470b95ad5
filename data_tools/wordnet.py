"""Makes word vectors from the WordNet 3.0 database.

  python -m data_tools.wordnet --database=/usr/share/wordnet --out=wnet.bin

The method is that of C. Saedi, A. Branco, J. António Rodrigues and J. Silva, WordNet
Embeddings, RepL4NLP 2018, as their released code has it. The nodes of a graph are the
lemmas in lower case, parts of speech and senses merged. Every pointer of a synset links
each of its words to each word of the synset that it points to, and the weights add up;
words of one synset are linked by 1. `vectors/random_walk.py` makes vectors of the graph.

The database's format is described in WordNet's manual page wndb(5); Debian's package
`wordnet-base` has the files.
"""

from dataclasses import dataclass
from pathlib import Path

from data_tools.vectors.wordnet import DIM, SIZE, WEIGHTS, build
from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.files import atomic_write, read_text


@dataclass(frozen=True)
class Options:
    """The flags of the command."""

    database: Path | None = console.option(None, "folder of data.noun, data.verb, … (required)")
    out: Path | None = console.option(None, "file to write, in binary word2vec format (required)")
    dim: int = console.option(DIM, "dimension of the vectors")
    words: int = console.option(SIZE, "number of words (those with the most relations)")
    keep: Path | None = console.option(None, "file of words to always include, one per line [none]")
    pointer_weights: str = console.option("equal", "weights of pointers: equal, or typed (by kind)")


def main(options: Options) -> None:
    """Runs the command."""
    for flag in ("database", "out"):
        if getattr(options, flag) is None:
            raise InputError(f"--{flag} is missing (see --help)")
    assert options.database is not None and options.out is not None
    console.require_one_of("pointer_weights", options.pointer_weights, WEIGHTS)
    console.require_at_least(options, dim=1, words=1)
    keep = set(read_text(options.keep).split()) if options.keep else set()
    weights = options.pointer_weights
    table = build(options.database, options.dim, options.words, keep.__contains__, weights)
    from gensim.models import KeyedVectors  # takes a second

    vectors = KeyedVectors(table.vectors.shape[1])
    vectors.add_vectors(list(table.words), table.vectors)
    with atomic_write(options.out) as temporary:
        vectors.save_word2vec_format(str(temporary), binary=True)
    words = console.counted(len(table.words), "word")
    console.say(f"{options.out}: {words} of {vectors.vector_size} numbers")


if __name__ == "__main__":
    console.run(Options, main, str(__doc__))
