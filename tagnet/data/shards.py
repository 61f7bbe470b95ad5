"""Reads shards of images into arrays: framing, checksums and fields of TFRecord files, compiled.

`tf.io.parse_example` makes a string of every record and a tensor of every field; here the
features of a record are copied once, from the bytes of the shard into their place. The
checksums are those that TensorFlow verifies.
"""

from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from tagnet.search.compiled import compiled

# What is wrong with a record.
CUT_OFF, CHECKSUM, FIELDS, WIDTH = range(1, 5)
REASONS = {
    CUT_OFF: "the file ends within it",
    CHECKSUM: "its checksum is not that of its bytes",
    FIELDS: "it is no Example with the fields image_id, row, phi, tag_ids and label_ids",
    WIDTH: "phi is not as wide as dataset.json says",
}
HEADER, FOOTER = 12, 4  # bytes around a record: its length and a checksum of it; a checksum
KEYS = b"image_id", b"tag_ids", b"label_ids", b"phi", b"row"
# The columns of a record's spans: where in the shard the bytes of a field begin and where
# they end, in the order of `KEYS`; `ROW` is the number itself.
IMAGE_ID, TAG_IDS, LABEL_IDS, PHI = slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)
ROW, SPANS = 8, 9

HARDWARE = llvmlite.binding.get_host_cpu_features().get("sse4.2", False)


def _crc_tables() -> np.ndarray:
    """CRC-32C of each byte followed by 0 … 7 bytes of zeros: uint64 [8, 256]."""
    tables = np.zeros([8, 256], np.uint64)
    tables[0] = np.arange(256)
    for _ in range(8):
        odd = tables[0] % 2 == 1
        tables[0] //= 2
        tables[0, odd] ^= np.uint64(0x82F63B78)
    for zeros in range(1, 8):
        tables[zeros] = tables[0][tables[zeros - 1] % 256] ^ tables[zeros - 1] // 256
    return tables


TABLES = _crc_tables()


@intrinsic
def _word(typing: Any, data: Any, place: Any) -> Any:
    """The 8 bytes of `data` from `place`, whatever its alignment, as a little-endian uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return numba.uint64(data, numba.int64), generate


@intrinsic
def _instruction(typing: Any, crc: Any, word: Any) -> Any:
    """The processor's own CRC-32C of 8 more bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i64 = ir.IntType(64)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(i64, [i64, i64]), "llvm.x86.sse42.crc32.64.64"
        )
        return builder.call(function, arguments)

    return numba.uint64(numba.uint64, numba.uint64), generate


@numba.njit
def _by_tables(crc: Any, word: Any) -> Any:
    """The same on other processors."""
    word ^= crc
    crc = np.uint64(0)
    for byte in range(8):
        crc ^= TABLES[7 - byte, (word >> np.uint64(8 * byte)) & np.uint64(255)]
    return crc


@numba.njit
def _by_instruction(crc: Any, word: Any) -> Any:
    return _instruction(crc, word)  # type: ignore[call-arg]


_eight_more = _by_instruction if HARDWARE else _by_tables


@compiled(nogil=True)
def masked_crc(data: np.ndarray, first: Any, last: Any) -> np.uint64:
    """TFRecord's checksum of data[first:last]: CRC-32C, rotated, plus a constant."""
    crc = np.uint64(0xFFFFFFFF)
    whole = first + (last - first) // 8 * 8
    for place in range(first, whole, 8):
        word: Any = _word(data, place)  # type: ignore[call-arg]
        crc = _eight_more(crc, word)
    for place in range(whole, last):
        byte = (crc ^ np.uint64(data[place])) & np.uint64(255)
        crc = TABLES[0, byte] ^ (crc >> np.uint64(8))
    crc ^= np.uint64(0xFFFFFFFF)
    rotated = (crc >> np.uint64(15)) | (crc << np.uint64(17))
    return (rotated + np.uint64(0xA282EAD8)) & np.uint64(0xFFFFFFFF)


@numba.njit
def _number(data: np.ndarray, first: Any, count: int) -> np.uint64:
    """`count` little-endian bytes as a number."""
    number = np.uint64(0)
    for byte in range(count):
        number |= np.uint64(data[first + byte]) << np.uint64(8 * byte)
    return number


@compiled(nogil=True)
def frames(data: np.ndarray) -> tuple[np.ndarray, int]:
    """Where a shard's records begin and end, int64 [n, 2], and what is wrong with the next."""
    bounds = np.empty((len(data) // (HEADER + FOOTER) + 1, 2), np.int64)
    place, count = np.int64(0), 0
    while place < len(data):
        if place + HEADER > len(data):
            return bounds[:count], CUT_OFF
        if masked_crc(data, place, place + 8) != _number(data, place + 8, 4):
            return bounds[:count], CHECKSUM
        first = place + HEADER
        length = np.int64(_number(data, place, 8))
        if length > len(data) - first - FOOTER:
            return bounds[:count], CUT_OFF
        bounds[count, 0], bounds[count, 1] = first, first + length
        place, count = first + length + FOOTER, count + 1
    return bounds[:count], 0


@numba.njit
def _varint(data: np.ndarray, place: int, last: int) -> tuple[np.int64, int]:
    """The number that begins at `place`, and where it ends: behind `last` where it is cut off."""
    number, shift = np.uint64(0), 0
    while place < last and shift < 64:
        byte = np.uint64(data[place])
        number |= (byte & np.uint64(127)) << np.uint64(shift)
        place, shift = place + 1, shift + 7
        if byte < 128:
            return np.int64(number), place
    return np.int64(0), last + 1


@numba.njit
def _inside(data: np.ndarray, place: Any, last: Any, tag: int) -> tuple[Any, Any]:
    """The bounds of the message with this tag that begins at `place`; (-1, -1) if there is none."""
    if place >= last or data[place] != tag:
        return -1, -1
    length, place = _varint(data, place + 1, last)
    if length < 0 or length > last - place:
        return -1, -1
    return place, place + length


@numba.njit
def _key(data: np.ndarray, first: int, last: int) -> int:
    """Which of `KEYS` stands there, -1 for another."""
    for index, key in enumerate(KEYS):
        if len(key) == last - first:
            same = True
            for letter in range(len(key)):
                same &= data[first + letter] == key[letter]
            if same:
                return index
    return -1


@numba.njit
def _fields(data: np.ndarray, first: int, last: int, span: np.ndarray) -> bool:
    """Finds the fields of one Example (tensorflow/core/example/example.proto)."""
    span[:] = -1
    place, last = _inside(data, first, last, 0x0A)  # Example.features
    while 0 <= place < last:
        entry, end = _inside(data, place, last, 0x0A)  # Features.feature
        key, key_end = _inside(data, entry, end, 0x0A)
        value, value_end = _inside(data, key_end, end, 0x12)
        index = _key(data, key, key_end) if value >= 0 else -1
        if index < 0:
            return False
        # Feature.bytes_list or Feature.int64_list, and in it all values as one field.
        kind = 0x0A if index in (0, 3) else 0x1A
        values, values_end = _inside(data, value, value_end, kind)
        if values < values_end:
            values, values_end = _inside(data, values, values_end, 0x0A)
        if values < 0:
            return False
        span[2 * index] = values
        if index == 4:
            span[ROW], _ = _varint(data, values, values_end)
        else:
            span[2 * index + 1] = values_end
        place = end
    return place >= 0 and span.min() >= 0


@numba.njit
def _intact(data: np.ndarray, first: Any, last: Any) -> bool:
    """Whether data[first:last] has the checksum that stands behind it."""
    return masked_crc(data, first, last) == _number(data, last, 4)


@compiled(nogil=True)
def read(
    data: np.ndarray, bounds: np.ndarray, phi: np.ndarray, spans: np.ndarray
) -> tuple[int, int]:
    """Verifies the records `bounds` [n, 2], copies their features and finds their other fields.

    Args:
        data: the shard's bytes.
        bounds: see `frames`.
        phi: uint8 [n, 2 D], filled.
        spans: int64 [n, SPANS], filled.

    Returns:
        How many records were read, and what is wrong with the next.
    """
    for record in range(len(bounds)):
        first, last = bounds[record]
        if not _intact(data, first, last):
            return record, CHECKSUM
        span = spans[record]
        if not _fields(data, first, last, span):
            return record, FIELDS
        begin, end = span[PHI]
        if end - begin != phi.shape[1]:
            return record, WIDTH
        phi[record] = data[begin:end]
    return len(bounds), 0


@compiled(nogil=True)
def intact(data: np.ndarray, bounds: np.ndarray) -> int:
    """How many of the records `bounds` [n, 2], from the first on, are as they were written."""
    for record in range(len(bounds)):
        first, last = bounds[record]
        if not _intact(data, first, last):
            return record
    return len(bounds)


@compiled(nogil=True)
def id_lists(data: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids that stand at `spans` [n, 2], one after another, and how many each list has."""
    ids = np.empty((spans[:, 1] - spans[:, 0]).sum(), np.int64)  # an id has a byte or more
    lengths = np.zeros(len(spans), np.int64)
    count = 0
    for record in range(len(spans)):
        place, last = spans[record]
        while place < last:
            ids[count], place = _varint(data, place, last)
            lengths[record] += 1
            count += 1
    return ids[:count], lengths
