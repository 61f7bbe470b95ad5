"""The command `tagnet`: one name for the commands of `data_tools` and `experiments`."""

import os
import runpy
import sys

import tagnet

COMMANDS = {
    "prepare": ("data_tools.prepare", "prepare a data set for training"),
    "audit": ("data_tools.audit", "verify a prepared data set"),
    "run": ("experiments.run", "train, score and export one model"),
    "sweep": ("experiments.sweep", "make the runs of the paper's tables and figures"),
    "search": ("experiments.search", "search for hyper-parameters"),
    "robustness": ("experiments.robustness", "measure accuracy under changed tags and neighbours"),
    "report": ("experiments.report", "compare runs with each other and with the paper"),
    "annotate": ("experiments.annotate", "annotate photos"),
    "export": ("experiments.export", "write a model for other programs"),
    "app": ("experiments.app", "annotate photos in a browser"),
}
USAGE = "\n".join(
    [
        "Usage: tagnet COMMAND [FLAGS]; tagnet COMMAND --help lists a command's flags.",
        "",
        *(f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "  --version   print the version",
    ]
)


def main() -> None:
    """Starts the module of a command, as `python -m MODULE` does."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"tagnet {tagnet.__version__}")
        return
    if not arguments or arguments[0] == "--help":
        print(USAGE)
        return
    name, *rest = arguments
    if name not in COMMANDS:
        print(
            f"error: the command must be one of {', '.join(COMMANDS)}; received {name!r}",
            file=sys.stderr,
        )
        sys.exit(2)
    if sys.path[0] in ("", os.getcwd()):  # `python -m` puts it first
        del sys.path[0]  # a package called `experiments` in the current folder is the user's
    sys.argv = [f"tagnet {name}", *rest]
    runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
