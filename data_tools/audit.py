"""Verifies a prepared directory.

  python -m data_tools.audit DIR [--plots=FOLDER]

Prints every check and its result. Exit status: 0 if all pass, 1 if one fails, 2 if DIR is
not a prepared directory. Observations that are not errors (labels missing in a part, images
that are neighbours of very many others, duplicate photos) do not change the status.
"""

from dataclasses import dataclass
from pathlib import Path

from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import say
from tagnet.system.runtime import import_tensorflow


@dataclass(frozen=True)
class Options:
    """The flags of an audit."""

    plots: Path | None = console.option(
        None, "write plots of tags, labels and neighbours into this folder [no plots]"
    )
    arguments: tuple[str, ...] = ()


def main(options: Options) -> None:
    """Runs the command."""
    if len(options.arguments) != 1:
        raise InputError(
            f"give one prepared directory; received {len(options.arguments)} "
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
