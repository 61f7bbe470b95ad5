"""tagnet: image annotation from visual cues and social-network tags.

After Tesan, Coscia and Ballan, "A CNN-RNN Framework for Image Annotation from Visual Cues and
Social Network Metadata". Importing the package is instant; TensorFlow is imported when one of
these names is first used:

build             an architecture as a `keras.Model`
ARCHITECTURES     the architectures by name
GraphSettings     the sizes and the regularisation of a model
TrainingSettings  optimizer, epochs, loss
load              opens a prepared directory
train             trains a model on a prepared directory
evaluate          scores a part of a split: mAP, precision, recall
export            writes a model as a SavedModel that annotates
Annotator         annotates photographs with a trained model
Annotation        what an annotator answers
InputError        what every function raises for bad input
"""

import importlib
from typing import TYPE_CHECKING, Any

from tagnet.errors import InputError
from tagnet.settings import GraphSettings, TrainingSettings

if TYPE_CHECKING:
    from tagnet.data.dataset import load
    from tagnet.models.architectures import ARCHITECTURES, build
    from tagnet.serving.annotator import Annotation, Annotator
    from tagnet.serving.export import export
    from tagnet.training.experiment import evaluate, train

__version__ = "0.2.0"
__all__ = [
    "ARCHITECTURES",
    "Annotation",
    "Annotator",
    "GraphSettings",
    "InputError",
    "TrainingSettings",
    "__version__",
    "build",
    "evaluate",
    "export",
    "load",
    "train",
]

_LAZY = {
    "ARCHITECTURES": "models.architectures",
    "Annotation": "serving.annotator",
    "Annotator": "serving.annotator",
    "build": "models.architectures",
    "evaluate": "training.experiment",
    "export": "serving.export",
    "load": "data.dataset",
    "train": "training.experiment",
}


def __getattr__(name: str) -> Any:
    """Imports what a public name stands for, when it is first used (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tagnet' has no attribute {name!r}")
    from tagnet.system.runtime import import_tensorflow

    import_tensorflow()
    value = getattr(importlib.import_module(f"tagnet.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
