"""A photo's bytes → the CNN's input inside a TensorFlow graph, equal to Pillow's.

Features depend on how a photograph is resampled, so the graph does what Pillow does:
two passes of a cubic filter whose width grows with the scale, in whole numbers of 22
bits, rounded to 8 bits after each pass (Pillow's `Resample.c`). TensorFlow's own
resampling differs. Orientation and transparency follow the rules of `images`.
"""

import functools
from collections.abc import Callable

import tensorflow as tf
from PIL import Image

from tagnet.photos.images import (
    EXIF,
    EXIF_HEADERS,
    LONG,
    ORIENTATION,
    PROFILE,
    PROFILE_BYTES,
    SHORT,
)
from tagnet.photos.png import PROFILE_HEADER
from tagnet.photos.png import SIGNATURE as PNG

JPEG = b"\xff\xd8"  # the signature
SIDES, COLOUR_TYPE = 16, 25  # offsets in a PNG: width and height of 4 bytes each, and 1 byte
ALPHA = 4  # the first colour type with alpha
MAX_CHUNKS = 2**16  # the search for metadata stops there: a file can hold millions of empty ones
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**27  # as `images.read_image`
PRECISION = 22  # bits of a coefficient
CUBIC = -0.5  # Keys' a


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
            return _upright(image, _orientation(_exif_of_jpeg(contents)))

    def png() -> tf.Tensor:
        head = tf.strings.substr(contents, 0, COLOUR_TYPE + 1)
        whole = (tf.strings.length(head) > COLOUR_TYPE) & (tf.strings.substr(head, 0, 8) == PNG)
        size = tf.strings.length(contents)
        is_png = tf.debugging.Assert(whole, ["an image must be JPEG or PNG; received bytes:", size])
        with tf.control_dependencies([is_png]):
            sides = tf.io.decode_raw(tf.strings.substr(head, SIDES, 8), tf.int32, False)
        with tf.control_dependencies(_not_too_large(tf.cast(sides, tf.int64))):
            exif, transparent = _parts_of_png(contents)
            # Opaque pixels of 1, 2 or 4 bits would get an alpha of 1, 3 or 15 instead of 255.
            image = tf.cond(
                transparent | (_bytes(head, COLOUR_TYPE, 1)[0] >= ALPHA),
                lambda: _over_white(tf.io.decode_png(contents, channels=4)),
                lambda: tf.io.decode_png(contents, channels=3),
            )
            return _upright(image, _orientation(exif))

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
    """The weight of each of `count` pixels in each of `size`: int32 [size, count]."""
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
    """RGBA → RGB over white, as Pillow does it."""
    alpha = tf.cast(image[:, :, 3:], tf.int32)
    # Whole numbers with 7 more bits, as in Pillow's `AlphaComposite.c`.
    part = alpha * 255 * 255 * 2**7 // tf.maximum(alpha * 255 + 255 * (255 - alpha), 1)
    mixed = tf.cast(image[:, :, :3], tf.int32) * part + 255 * (255 * 2**7 - part) + (0x80 << 7)
    return tf.cast(
        tf.bitwise.right_shift(tf.bitwise.right_shift(mixed, 8) + mixed, 8 + 7), tf.uint8
    )


def _upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates or flips an image by its EXIF orientation 1 … 8."""

    def when(values: list[int], turned: Callable[[], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_any(orientation == values), turned, lambda: image)

    image = when([5, 6, 7, 8], functools.partial(tf.transpose, image, [1, 0, 2]), image)
    image = when([2, 3, 6, 7], functools.partial(tf.reverse, image, [1]), image)
    return when([3, 4, 7, 8], functools.partial(tf.reverse, image, [0]), image)


# --- Metadata: each function follows the rule of its namesake in `images` ----------------


def _orientation(exif: tf.Tensor) -> tf.Tensor:
    """Reads the orientation (1 to 8) from EXIF; 1 if there is none."""
    exif = tf.strings.regex_replace(exif, EXIF_HEADERS, "", replace_global=False)
    number = functools.partial(_number, little=_part(exif, 0, 2) == b"II")
    first = number(_bytes(exif, 4, 4)) + 2
    whole = tf.maximum((_length(exif) - first) // 12, 0)
    count = tf.minimum(number(_bytes(exif, first - 2, 2)), whole)
    fields = tf.reshape(tf.io.decode_raw(_part(exif, first, 12 * count), tf.uint8), [-1, 12])
    kind = number(fields[:, 2:4])
    value = tf.where(kind == SHORT, number(fields[:, 8:10]), 0)
    value = tf.where(kind == LONG, number(fields[:, 8:]), value)
    found = tf.boolean_mask(value, number(fields[:, :2]) == ORIENTATION)
    return tf.concat([found, [1]], axis=0)[0]


def _exif_of_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Finds the first EXIF segment before the pixels; empty if there is none."""

    def goes_on(at: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
        is_scan = _part(contents, at, 2) == b"\xff\xda"
        return (exif == b"") & (at < _length(contents)) & ~is_scan

    def step(at: tf.Tensor, exif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _bytes(contents, at, 4)
        is_marker = (head[0] == 0xFF) & (head[1] != 0xFF)  # else a fill byte
        size = _number(head[2:])
        found = is_marker & (head[1] == 0xE1) & (_part(contents, at + 4, len(EXIF)) == EXIF)
        exif = tf.cond(found, lambda: _part(contents, at + 4, size - 2), lambda: exif)
        return at + tf.where(is_marker, 2 + size, 1), exif

    start = tf.constant(len(JPEG), tf.int64), tf.constant(b"")
    return tf.while_loop(goes_on, step, start, maximum_iterations=MAX_CHUNKS)[1]


def _parts_of_png(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the EXIF in a PNG, and whether it has a `tRNS` chunk."""

    def goes_on(at: tf.Tensor, exif: tf.Tensor, transparent: tf.Tensor) -> tf.Tensor:
        return (at + 12 <= _length(contents)) & (_part(contents, at + 4, 4) != b"IEND")

    def step(
        at: tf.Tensor, exif: tf.Tensor, transparent: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        size, kind = _number(_bytes(contents, at, 4)), _part(contents, at + 4, 4)
        content = functools.partial(_part, contents, at + 8, size)
        is_text = ((kind == b"tEXt") | (kind == b"zTXt")) & (exif == b"")
        exif = tf.cond(is_text, lambda: _exif_of_profile(kind, content()), lambda: exif)
        exif = tf.cond(kind == b"eXIf", content, lambda: exif)
        return at + 12 + size, exif, transparent | (kind == b"tRNS")

    start = tf.constant(len(PNG), tf.int64), tf.constant(b""), tf.constant(False)
    return tf.while_loop(goes_on, step, start, maximum_iterations=MAX_CHUNKS)[1:]


def _exif_of_profile(kind: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """Decodes a `tEXt` or `zTXt` chunk; empty if it holds no EXIF."""

    def inflated() -> tf.Tensor:
        # Damaged data would fail the whole request; only a data set can ignore the error.
        data = tf.data.Dataset.from_tensors(_part(text, len(PROFILE) + 1, PROFILE_BYTES))
        data = data.map(functools.partial(tf.io.decode_compressed, compression_type="ZLIB"))
        return data.ignore_errors().reduce(b"", lambda _, whole: whole)

    def fields() -> tf.Tensor:
        plain = functools.partial(_part, text, len(PROFILE), PROFILE_BYTES)
        digits = tf.cond(kind == b"zTXt", inflated, plain)
        digits = tf.strings.regex_replace(digits, PROFILE_HEADER, "", replace_global=False)
        is_hex = tf.strings.regex_full_match(digits, r"(\s*[0-9a-fA-F]{2})*\s*")
        digits = tf.where(is_hex, tf.strings.regex_replace(digits, r"\s", ""), b"")
        codes = tf.cast(tf.io.decode_raw(digits, tf.uint8), tf.int32)
        values = tf.where(codes > ord("9"), codes % 32 + 9, codes - ord("0"))  # "a" is 0x61
        high, low = values[::2], values[1::2]
        return tf.strings.reduce_join(tf.gather([bytes([i]) for i in range(256)], high * 16 + low))

    is_profile = _part(text, 0, len(PROFILE)) == PROFILE
    return tf.cond(is_profile & (_length(text) <= PROFILE_BYTES), fields, lambda: b"")


def _length(text: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(text), tf.int64)


def _part(text: tf.Tensor, at: tf.Tensor | int, size: tf.Tensor | int) -> tf.Tensor:
    """The `size` bytes from `at` on; fewer if `text` ends before."""
    at, size = tf.cast(at, tf.int64), tf.maximum(tf.cast(size, tf.int64), 0)
    return tf.strings.substr(text, tf.minimum(at, _length(text)), size)


def _bytes(text: tf.Tensor, at: tf.Tensor | int, size: int) -> tf.Tensor:
    """As `_part`, as uint8 [size] padded with zeros."""
    return tf.io.decode_raw(_part(text, at, size), tf.uint8, fixed_length=size)


def _number(digits: tf.Tensor, little: tf.Tensor | bool = False) -> tf.Tensor:
    """Bytes of a big-endian number, or a `little`-endian one: uint8 [..., k] → int64 [...]."""
    powers = tf.constant([256**i for i in range(digits.shape[-1])], tf.int64)
    powers = tf.where(little, powers, powers[::-1])
    return tf.reduce_sum(tf.cast(digits, tf.int64) * powers, axis=-1)
