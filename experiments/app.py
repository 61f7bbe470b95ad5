"""A small browser app: drop a photo, type tags; labels and neighbours update.

    python -m experiments.app

It needs the extra `app` and works offline: the page loads nothing from elsewhere, and no usage
statistics are sent.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from tagnet.errors import InputError
from tagnet.settings import SHIPPED_MODEL
from tagnet.system import console
from tagnet.system.console import option, require_at_least
from tagnet.system.runtime import import_tensorflow

USAGE = """Annotates photos interactively in a browser.

  python -m experiments.app [--model=RUN]

The default model comes with tagnet. Requires the extra `app`; works offline. Programs call the
endpoint /annotate, e.g. by gradio_client: Client(ADDRESS).predict(handle_file("photo.jpg"),
"beach, dog", api_name="/annotate")."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of the app."""

    model: Path = option(Path(SHIPPED_MODEL), "run directory, SavedModel or preset")
    weights: Path | None = option(None, "weight file of the backbone [downloaded or bundled]")
    photos: Path | None = option(None, "folder of the training photos [recorded in the data set]")
    top_k: int = option(10, "number of labels to show")
    host: str = option("127.0.0.1", "address to bind")
    port: int = option(7860, "port; 0 picks a free one")

    def __post_init__(self) -> None:
        require_at_least(self, top_k=1, port=0)
        if self.photos is not None and not self.photos.is_dir():
            raise InputError(f"--photos must be a folder; received {str(self.photos)!r}")
        if self.port > 65535:
            raise InputError(f"--port must be at most 65535; received {self.port}")


def main(options: Options) -> None:
    """Serves until it is interrupted."""
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow(f"TensorFlow and the model {options.model}")
    from experiments.annotation import browser
    from experiments.annotation.gallery import corpus_place, model_name
    from experiments.annotation.shipped import say_shipped
    from tagnet.serving.annotator import Annotator

    gradio = _gradio()
    annotator = Annotator.load(options.model, options.weights)
    say_shipped(options.model, annotator.labels)
    browser.warm_up(annotator)
    name = model_name(annotator.arch, options.model)
    place = corpus_place(options.model, options.photos)
    app = browser.build(gradio, annotator, name, place, options.top_k)
    try:
        _, address, _ = app.launch(
            server_name=options.host,
            server_port=options.port or None,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            footer_links=[],
            css=browser.STYLE,
        )
    except OSError as error:
        raise InputError(
            f"cannot listen on {options.host}:{options.port}; change --host or --port"
        ) from error
    console.say(f"running at {address} (Ctrl+C to stop)", result=True)
    app.block_thread()


def _gradio() -> Any:
    """Imports Gradio with its usage statistics disabled."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise InputError("the app needs gradio: pip install 'tagnet[app]'") from error
    return gradio


if __name__ == "__main__":
    console.run(Options, main, USAGE)
