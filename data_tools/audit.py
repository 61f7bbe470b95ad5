"""Checks everything that a prepared directory promises.

  python -m data_tools.audit DIR
  python -m data_tools.audit DIR --plots=FOLDER

Prints what it finds. Exit status 1 if a promise is broken, 2 if DIR is not a prepared
directory. What is worth knowing without being wrong (a label that a part lacks, an image
that is everybody's neighbour, equal photographs) is said, and changes no status.
"""

from dataclasses import dataclass
from pathlib import Path

from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import say
from tagnet.system.runtime import import_tensorflow


@dataclass(frozen=True)
class Options:
    """What to audit."""

    plots: Path | None = console.option(None, "folder for plots of tags, labels and neighbours")
    arguments: tuple[str, ...] = ()


def main(options: Options) -> None:
    """Runs the command."""
    if len(options.arguments) != 1:
        raise InputError(
            f"one prepared directory must be given; received {len(options.arguments)} "
            "(python -m data_tools.audit DIR)"
        )
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow()
    from data_tools.checks import audit

    data, report = audit(Path(options.arguments[0]))
    if options.plots is not None:
        from data_tools.audit_plots import plot  # matplotlib is slow to import

        plot(data, report.in_degrees, options.plots)
        say(f"plots: {options.plots}")
    if report.broken:
        raise SystemExit(1)


if __name__ == "__main__":
    console.run(Options, main, str(__doc__))
