"""The header of an entry file, read as if an enemy had written it.

The file is a safetensors file: eight bytes with the length of the header (little-endian), the
header as JSON, then the tensors one after the other, without gaps. Nothing the header says is
believed before it is checked, and nothing it says can make the reader allocate more than the file
has bytes. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import torch

from minireranker.errors import CorruptEntryError

from .key import KEY_PATTERN

FORMAT = "minireranker"
MOST_HEADER_BYTES = 2**20
MOST_DIMENSIONS = 8
MOST_NUMBER = 2**20
"""Numbers in an entry's fields (tokens, layers, positions) are at most this: they become loops."""
MOST_FIELD = 64
"""Characters in an entry's field."""

LENGTH_BYTES = 8

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_SAYING = "damaged or foreign entry file: {}. It cannot be used; put the entry again"

_OWN = ("format", "layout", "key", "kind", "created", "checksum")
"""Metadata that is not the entry's own fields."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Extent:
    """Where one tensor lies."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    """Bytes from the beginning of the file."""

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """What an entry file says of itself; checked."""

    key: str
    kind: str
    """Name of the entry's class."""
    created: float
    """Seconds since the epoch, by the writer's clock."""
    layout: int
    fields: Mapping[str, str]
    """The entry's own."""
    tensors: Mapping[str, Extent]


def header_length(data: memoryview) -> int:
    """Bytes of the header, by the first eight bytes. Raises CorruptEntryError."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or length > min(MOST_HEADER_BYTES, len(data) - LENGTH_BYTES):
        corrupt(f"{len(data)} bytes cannot hold a header of {length}")
    return length


def parse_header(text: bytes, size: int) -> Header:
    """Read the header of a file of ``size`` bytes. Raises CorruptEntryError, nothing else."""
    try:
        found = json.loads(text.decode(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise CorruptEntryError(_SAYING.format(f"its header is no JSON: {error}")) from error
    if not isinstance(found, dict):
        corrupt("its header is no JSON object")
    metadata = _metadata(found.pop("__metadata__", None))
    start = LENGTH_BYTES + len(text)
    tensors = {name: _extent(name, item, start) for name, item in found.items()}
    _check_tiling(tensors, start, size)
    fields = {name: value for name, value in metadata.items() if name not in _OWN}
    check_fields(fields)
    created, layout = _number(metadata["created"]), _number(metadata["layout"])
    return Header(metadata["key"], metadata["kind"], created, int(layout), fields, tensors)


def check_fields(fields: Mapping[str, str]) -> None:
    """Raise CorruptEntryError for fields no entry has."""
    for name, value in fields.items():
        try:
            number = int(value[:MOST_FIELD])
        except ValueError:
            number = 0
        if name in _OWN or len(value) > MOST_FIELD or abs(number) > MOST_NUMBER:
            corrupt(f"its field {name[:MOST_FIELD]!r} is {value[:MOST_FIELD]!r}")


def corrupt(what: str) -> NoReturn:
    """Raise CorruptEntryError that says so."""
    raise CorruptEntryError(_SAYING.format(what))


def _without_repeats(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        corrupt("its metadata is no mapping of strings")
    missing = [name for name in _OWN if name not in found]
    if missing or found["format"] != FORMAT or not KEY_PATTERN.fullmatch(found["key"]):
        corrupt(f"its metadata is not {FORMAT}'s" + (f", {missing} missing" if missing else ""))
    return found


def _extent(name: str, item: object, start: int) -> Extent:
    if not isinstance(item, dict) or sorted(item) != ["data_offsets", "dtype", "shape"]:
        corrupt(f"tensor {name[:MOST_FIELD]!r} is not described")
    dtype = DTYPES.get(item["dtype"]) if isinstance(item["dtype"], str) else None
    shape, offsets = item["shape"], item["data_offsets"]
    sound = _are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2
    if dtype is None or not sound or len(shape) > MOST_DIMENSIONS:
        corrupt(f"dtype, shape or offsets of tensor {name[:MOST_FIELD]!r} cannot be")
    found = Extent(dtype, tuple(shape), start + offsets[0])
    if found.end != start + offsets[1] or found.start % dtype.itemsize:
        corrupt(f"tensor {name[:MOST_FIELD]!r} does not fit its place")
    return found


def _are_sizes(found: object) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n < 2**62 for n in found)


def _check_tiling(tensors: Mapping[str, Extent], start: int, size: int) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    at = start
    for extent in sorted(tensors.values(), key=lambda extent: (extent.start, extent.end)):
        if extent.start != at:
            corrupt(f"there is a gap or an overlap at byte {min(at, extent.start)}")
        at = extent.end
    if at != size:
        corrupt(f"its tensors end at byte {at}, the file at {size}")


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        corrupt(f"{text[:MOST_FIELD]!r} is no number")
    return found
