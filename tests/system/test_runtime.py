"""How TensorFlow is found and told what it may use."""

import importlib.metadata

from tagnet.system import runtime


def test_the_version_of_a_package():
    assert runtime.version_of("numpy") == importlib.metadata.version("numpy")


def test_a_nightly_keras_has_a_version_too(monkeypatch):
    """As beside a release candidate of TensorFlow, where no `keras` is installed."""

    def version(name: str) -> str:
        if name == "keras-nightly":
            return "3.16.0.dev1"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert runtime.version_of("keras") == "3.16.0.dev1"
    assert runtime.version_of("numpy") == ""
