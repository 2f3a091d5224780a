"""The bytes of an entry file: a valid safetensors file that vouches for every one of its bytes.

The metadata holds the key, the kind, when it was made, the entry's fields, and a checksum: XXH3,
128 bits, over the whole file with the checksum's own 32 digits taken as zeros. The digits are
compared as text, so that not even a change of their case goes unseen. It finds damage; it is no
seal against somebody who writes into the folder, which is why the header is distrusted all the
same. Every part has the layer as its first dimension: one layer is one extent of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Generic, TypeAlias, TypeVar, cast

import torch
from safetensors.torch import save
from torch import Tensor

from minireranker.errors import MinirerankerError

from .entry import ChoiceEntry, Entry, FeatureEntry, PrefixEntry, SuffixEntry
from .header import (
    FORMAT,
    LENGTH_BYTES,
    Extent,
    Header,
    check_fields,
    corrupt,
    header_length,
    parse_header,
)
from .key import LAYOUT_VERSION

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

KINDS: Mapping[str, type[Entry]] = {
    kind.__name__: kind for kind in (PrefixEntry, ChoiceEntry, FeatureEntry, SuffixEntry)
}

_ZEROS = b"0" * 32
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{32})"')

E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Stored(Generic[E]):
    """An entry as it came out of a file."""

    entry: E
    created: float
    """Seconds since the epoch, by the writer's clock."""
    key: str


def dump(key: str, entry: Entry, created: float) -> bytes:
    """The file of ``entry``. Raises CorruptEntryError for fields that could not be read back."""
    fields = entry.fields()
    check_fields(fields)
    metadata = {
        **fields,
        "format": FORMAT,
        "layout": str(LAYOUT_VERSION),
        "key": key,
        "kind": type(entry).__name__,
        "created": repr(float(created)),
        "checksum": _ZEROS.decode(),
    }
    data = memoryview(save(_apart(entry.tensors()), metadata))
    _, at = _digits(data)
    return b"".join((data[:at], _checksum(data, at), data[at + len(_ZEROS) :]))


def check(data: Buffer, key: str | None = None) -> Header:
    """The header of a file that is sound in every byte, of any layout version.

    ``key``: the one it has to have. Raises CorruptEntryError.
    """
    view = memoryview(data).cast("B")
    digits, at = _digits(view)
    if _checksum(view, at) != digits:
        corrupt("its checksum is another")
    text = bytes(view[LENGTH_BYTES : LENGTH_BYTES + header_length(view)])
    header = parse_header(text, len(view))
    if key not in (None, header.key):
        corrupt(f"it is that of {header.key}, {key} was asked for")
    return header


def load(data: Buffer, key: str | None = None, kind: type[E] | None = None) -> Stored[E]:
    """The entry in the file ``data``; its tensors are views into ``data`` (a copy, if read-only).

    ``key`` and ``kind``: what it has to be; None: whatever it says. Raises CorruptEntryError.
    """
    header = check(data, key)
    if kind is not None and header.kind != kind.__name__:
        corrupt(f"it holds a {header.kind}, not a {kind.__name__}")
    return Stored(cast(E, restore(header, data)), header.created, header.key)


def restore(header: Header, data: Buffer) -> Entry:
    """The entry that ``header``, checked, describes. Raises CorruptEntryError."""
    if header.layout != LAYOUT_VERSION or header.kind not in KINDS:
        corrupt(f"it holds a {header.kind[:64]} of layout {header.layout}")
    if memoryview(data).readonly:
        data = bytearray(data)
    try:
        tensors = {name: _tensor(data, extent) for name, extent in header.tensors.items()}
        entry = KINDS[header.kind].restore(tensors, header.fields)
        if entry.tensors().keys() == tensors.keys() and entry.fields() == header.fields:
            return entry
        why = "another would be written"
    except (KeyError, ValueError, TypeError, RuntimeError, MinirerankerError) as error:
        why = repr(error)
    corrupt(f"its parts are not those of a {header.kind}: {why}")


def _digits(data: memoryview) -> tuple[bytes, int]:
    """The checksum's digits and where they stand."""
    header = bytes(data[LENGTH_BYTES : LENGTH_BYTES + header_length(data)])
    found = list(_CHECKSUM.finditer(header))
    if len(found) != 1:
        corrupt(f"it has {len(found)} checksums")
    return found[0][1], LENGTH_BYTES + found[0].start(1)


def _checksum(data: memoryview, at: int) -> bytes:
    from xxhash import xxh3_128

    state = xxh3_128(data[:at])
    state.update(_ZEROS)
    state.update(data[at + len(_ZEROS) :])
    return state.hexdigest().encode()


def _tensor(data: Buffer, extent: Extent) -> Tensor:
    if not extent.elements:
        return torch.empty(extent.shape, dtype=extent.dtype)
    flat = torch.frombuffer(data, dtype=extent.dtype, count=extent.elements, offset=extent.start)
    return flat.view(extent.shape)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous, on the CPU, no two in the same memory: what safetensors takes."""
    found: dict[str, Tensor] = {}
    taken: list[tuple[int, int]] = []
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        start = own.data_ptr()
        if any(start < end and begin < start + own.nbytes for begin, end in taken):
            own = own.clone()
        taken.append((start, start + own.nbytes))
        found[name] = own
    return found
