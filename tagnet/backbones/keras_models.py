"""The models of `keras.applications` as sources of Φ, each with its own preprocessing.

A graph is float32 whatever the precision policy of the run: features must not depend on it.
"""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tagnet.backbones.efficientnet import central_square
from tagnet.errors import InputError

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


def keras_model(name: str, size: int, weights: Path | None) -> keras.Model:
    """Builds a model of `keras.applications` up to the mean over its last feature map.

    VGG16 and VGG19 go up to `fc2`, fc7 of Simonyan and Zisserman (2015).

    Args:
        name: as Keras spells it.
        size: height and width of its images.
        weights: a weight file of Keras for this model, without the top but for VGG;
            None downloads those of ImageNet.

    Returns:
        A graph [B, size, size, 3] → [B, D].

    Raises:
        InputError: the weights cannot be downloaded, or are not of this model.
    """
    if weights is not None and not weights.is_file():
        raise InputError(f"{weights}: cannot be read (No such file)")
    vgg = name.startswith("VGG")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = getattr(keras.applications, name)(
            include_top=vgg,
            weights="imagenet" if weights is None else str(weights),
            input_shape=(size, size, 3),
            pooling=None if vgg else "avg",
        )
    except Exception as error:  # Keras raises a bare Exception where a download fails
        reason = " ".join(str(error).split())
        if weights is None:
            raise InputError(
                f"{name}: its weights cannot be downloaded ({reason}); "
                "fetch them elsewhere and give --weights=FILE"
            ) from error
        raise InputError(f"{weights}: is not a weight file of {name} ({reason})") from error
    finally:
        keras.config.set_dtype_policy(policy)
    return keras.Model(model.inputs, model.get_layer("fc2").output) if vgg else model


def prepare_keras(module: str, size: int, image: Image.Image) -> np.ndarray:
    """The central square as the `preprocess_input` of a module of `keras.applications` wants it.

    Args:
        module: its name.
        size: height and width of the model's images.
        image: RGB, of any size.

    Returns:
        float32 [size, size, 3].
    """
    return getattr(keras.applications, module).preprocess_input(central_square(image, size))
