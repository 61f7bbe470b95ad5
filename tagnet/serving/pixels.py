"""A photograph's bytes → the CNN's input inside a TensorFlow graph, as Pillow makes it.

Features depend on how a photograph is resampled, so the graph does what Pillow does:
two passes of a cubic filter whose width grows with the scale, in whole numbers of 22
bits, rounded to 8 bits after each pass (Pillow's `Resample.c`). TensorFlow's own
resampling differs.
"""

import functools

import tensorflow as tf
from PIL import Image

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"  # how the files begin
SIDES = 16  # where a PNG has its width and height, four bytes each
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**27  # as `images.read_image`
PRECISION = 22  # bits of a coefficient
CUBIC = -0.5  # Keys' a
EXIF = b"Exif\x00\x00"
HEADER = 2**16  # bytes in which the orientation is looked for
ORIENTATION = 0x0112


def decode(contents: tf.Tensor) -> tf.Tensor:
    """JPEG or PNG bytes → uint8 [H, W, 3]: upright, transparency over white.

    Raises:
        tf.errors.InvalidArgumentError: they are neither, are damaged, or have more pixels than
            `MAX_PIXELS`; this is found before memory is taken for them.
    """

    def jpeg() -> tf.Tensor:
        sides = tf.image.extract_jpeg_shape(contents, tf.int64)[:2]
        with tf.control_dependencies(_not_too_large(sides)):
            image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
        return _upright(image, _orientation(contents))

    def png() -> tf.Tensor:
        head = tf.strings.substr(contents, 0, SIDES + 8)
        whole = (tf.strings.length(head) == SIDES + 8) & (tf.strings.substr(head, 0, 8) == PNG)
        size = tf.strings.length(contents)
        is_png = tf.debugging.Assert(whole, ["an image must be JPEG or PNG; received bytes:", size])
        with tf.control_dependencies([is_png]):
            sides = tf.io.decode_raw(tf.strings.substr(head, SIDES, 8), tf.int32, False)
        with tf.control_dependencies(_not_too_large(tf.cast(sides, tf.int64))):
            return _over_white(tf.io.decode_png(contents, channels=4))

    return tf.cond(tf.strings.substr(contents, 0, 2) == JPEG, jpeg, png)


def _not_too_large(sides: tf.Tensor) -> list[tf.Operation]:
    fits = tf.reduce_all(sides > 0) & (tf.reduce_prod(sides) <= MAX_PIXELS)
    line = f"an image must have at most {MAX_PIXELS} pixels; received sides of"
    return [tf.debugging.Assert(fits, [line, sides])]


def central_square(image: tf.Tensor, size: int) -> tf.Tensor:
    """The central 7/8 of the shorter side, resampled: as `efficientnet.central_square`.

    Args:
        image: uint8 [H, W, 3].
        size: height and width of the result.

    Returns:
        float32 [size, size, 3], of 0 to 255.
    """
    shape = tf.cast(tf.shape(image)[:2], tf.float64)
    side = tf.reduce_min(shape) * 224 / 256
    first = (shape - side) / 2
    across = _resample(tf.transpose(image, [1, 0, 2]), first[1], first[1] + side, size)
    return tf.cast(
        _resample(tf.transpose(across, [1, 0, 2]), first[0], first[0] + side, size), tf.float32
    )


def _resample(image: tf.Tensor, start: tf.Tensor, end: tf.Tensor, size: int) -> tf.Tensor:
    """One pass over the first axis: uint8 [N, K, 3] → uint8 [size, K, 3]."""
    shape = tf.shape(image)
    weights = _coefficients(shape[0], start, end, size)
    flat = tf.reshape(tf.cast(image, tf.int32), [shape[0], -1])
    sums = tf.sparse.sparse_dense_matmul(weights, flat) + 2 ** (PRECISION - 1)
    levels = tf.clip_by_value(tf.bitwise.right_shift(sums, PRECISION), 0, 255)
    return tf.cast(tf.reshape(levels, [size, shape[1], 3]), tf.uint8)


def _coefficients(count: tf.Tensor, start: tf.Tensor, end: tf.Tensor, size: int) -> tf.SparseTensor:
    """Which part of each of `count` pixels goes into each of `size`: int32 [size, count]."""
    # Pillow takes the box in single precision and reckons with it in double.
    start32, end32 = tf.cast(start, tf.float32), tf.cast(end, tf.float32)
    scale = tf.cast(end32 - start32, tf.float64) / size
    width = tf.maximum(scale, 1)
    support = 2 * width
    centre = tf.cast(start32, tf.float64) + (tf.range(size, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centre - support + 0.5, tf.int32), 0)[:, None]
    last = tf.minimum(tf.cast(centre + support + 0.5, tf.int32), count)[:, None]
    pixels = first + tf.range(2 * tf.cast(tf.math.ceil(support), tf.int32) + 1)  # [size, taps]
    distance = (tf.cast(pixels, tf.float64) - centre[:, None] + 0.5) / width
    weights = tf.where(pixels < last, _cubic(tf.abs(distance)), 0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    scaled = weights * 2**PRECISION
    whole = tf.cast(scaled + 0.5 * tf.sign(scaled), tf.int32)  # rounds half away from zero
    places = tf.where(pixels < last)
    indices = tf.stack([places[:, 0], tf.cast(tf.gather_nd(pixels, places), tf.int64)], axis=1)
    return tf.SparseTensor(indices, tf.gather_nd(whole, places), [size, tf.cast(count, tf.int64)])


def _cubic(x: tf.Tensor) -> tf.Tensor:
    """Keys 1981, for x ≥ 0."""
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return tf.where(x < 1, near, tf.where(x < 2, far, 0))


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """RGBA → RGB, as Pillow composes it over white."""
    alpha = tf.cast(image[:, :, 3:], tf.int32)
    # Whole numbers with 7 more bits, as in Pillow's `AlphaComposite.c`.
    part = alpha * 255 * 255 * 2**7 // tf.maximum(alpha * 255 + 255 * (255 - alpha), 1)
    mixed = tf.cast(image[:, :, :3], tf.int32) * part + 255 * (255 * 2**7 - part) + (0x80 << 7)
    return tf.cast(
        tf.bitwise.right_shift(tf.bitwise.right_shift(mixed, 8) + mixed, 8 + 7), tf.uint8
    )


def _upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image as the EXIF orientation 1 … 8 says."""

    def when(values: list[int], turned: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_any(orientation == values), lambda: turned, lambda: image)

    image = when([5, 6, 7, 8], tf.transpose(image, [1, 0, 2]), image)
    image = when([2, 3, 6, 7], tf.reverse(image, [1]), image)
    return when([3, 4, 7, 8], tf.reverse(image, [0]), image)


def _orientation(contents: tf.Tensor) -> tf.Tensor:
    """The orientation that the EXIF fields of a JPEG give; 1 where they give none."""
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, 0, HEADER), tf.uint8), tf.int32)
    bytes_ = tf.concat([head, tf.zeros([len(EXIF)], tf.int32)], axis=0)
    count = tf.size(head)
    matches = tf.reduce_all(
        [bytes_[i : i + count] == letter for i, letter in enumerate(EXIF)], axis=0
    )
    at = tf.where(matches)[:, 0]

    def read() -> tf.Tensor:
        start = tf.cast(at[0], tf.int32) + len(EXIF)
        little = bytes_[tf.minimum(start, count)] == ord("I")

        def number(places: tf.Tensor, size: int) -> tf.Tensor:
            digits = [
                tf.gather(bytes_, tf.clip_by_value(places + i, 0, count)) for i in range(size)
            ]
            from_high = functools.reduce(lambda high, low: high * 256 + low, digits)
            from_low = functools.reduce(lambda high, low: high * 256 + low, digits[::-1])
            return tf.where(little, from_low, from_high)

        directory = start + tf.clip_by_value(number(start + 4, 4), 0, HEADER)
        entries = directory + 2 + 12 * tf.range(number(directory, 2))
        values = tf.boolean_mask(number(entries + 8, 2), number(entries, 2) == ORIENTATION)
        return tf.concat([values, [1]], axis=0)[0]

    return tf.cond(tf.size(at) > 0, read, lambda: tf.constant(1))
