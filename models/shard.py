"""The safetensors files of a checkpoint: what their headers say, and a fingerprint of the content.

The header is read here and not through the library because its bytes are part of the fingerprint
and because a file that was cut short can then be named with both sizes. Format:
https://github.com/huggingface/safetensors#format (8 bytes little-endian header length, JSON, data).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from minireranker.errors import CheckpointError

from .layout import first_ten

SAMPLED_BLOCKS = 64
BLOCK_BYTES = 64 * 1024
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_LONGEST_HEADER = 100_000_000  # the library's own limit

_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies and what it looks like, without its values."""

    name: str
    """As written in the file."""
    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors spells it: BF16, F16, F32, ..."""

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Shard:
    """A safetensors file whose header was read and whose size fits it."""

    path: Path
    size: int
    """Bytes of the file."""
    header: bytes
    tensors: tuple[StoredTensor, ...]

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Read the header.

        Raises CheckpointError for a file that is missing, cut short or no safetensors file.
        """
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = file.read(length) if length <= min(size, _LONGEST_HEADER) else b""
            if size < 8 or len(header) != length:
                raise ValueError(f"{size} bytes do not hold its header")
            tensors, end = _parse(header, path)
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}; download it again") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is not a readable safetensors file ({error}); download it again"
            ) from error
        if 8 + length + end != size:
            raise CheckpointError(
                f"{path} has {size:,} bytes, its header describes {8 + length + end:,}: it was cut "
                "short or damaged; download it again"
            )
        return cls(path, size, header, tensors)

    def update_digest(self, digest: Hash) -> None:
        """Feed name, size, header and samples of the content to a hash.

        The content is sampled because hashing gigabytes takes longer than loading them:
        SAMPLED_BLOCKS blocks of BLOCK_BYTES, evenly spaced from the first byte to the last (all of
        it in a file no larger than that). Training moves weights everywhere and is seen; a few
        numbers changed by hand between two samples are not.
        """
        digest.update(f"{self.path.name}\0{self.size}\0".encode())
        digest.update(self.header)
        start, last = 8 + len(self.header), max(8 + len(self.header), self.size - BLOCK_BYTES)
        with self.path.open("rb") as file:
            if self.size - start <= SAMPLED_BLOCKS * BLOCK_BYTES:
                file.seek(start)
                digest.update(file.read())
                return
            for block in range(SAMPLED_BLOCKS):
                file.seek(start + (last - start) * block // (SAMPLED_BLOCKS - 1))
                digest.update(file.read(BLOCK_BYTES))


def read_shards(directory: Path) -> tuple[Shard, ...]:
    """``model.safetensors``, or the files that the index names, sorted by name.

    Raises CheckpointError for missing, truncated or contradicting files.
    """
    if (directory / SINGLE).is_file():
        return (Shard.read(directory / SINGLE),)
    listed = _weight_map(directory)
    absent = [name for name in sorted(set(listed.values())) if not (directory / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{directory / INDEX} names {len(absent)} file(s) that are not there: "
            f"{first_ten(absent)}; download them again"
        )
    shards = tuple(Shard.read(directory / name) for name in sorted(set(listed.values())))
    held = {(tensor.name, shard.path.name) for shard in shards for tensor in shard.tensors}
    lost = [name for name, file in listed.items() if (name, file) not in held]
    if lost:
        raise CheckpointError(
            f"{directory / INDEX} names {len(lost)} tensor(s) that its files do not hold: "
            f"{first_ten(lost)}; download index and files again"
        )
    return shards


def _weight_map(directory: Path) -> dict[str, str]:
    try:
        index: Any = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        listed = {str(name): str(file) for name, file in index["weight_map"].items()}
        if not listed or any(Path(file).name != file for file in listed.values()):
            raise ValueError("weight_map must map tensors to files beside it")
        return listed
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{directory} has neither {SINGLE} nor {INDEX}; pass a checkpoint directory in the "
            "Qwen3-VL layout with safetensors weights"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{directory / INDEX} is damaged ({error}); download it again"
        ) from error


def _parse(header: bytes, path: Path) -> tuple[tuple[StoredTensor, ...], int]:
    """The tensors of a header, and how many bytes of data it describes."""
    described: dict[str, Any] = json.loads(header)
    tensors, end = [], 0
    for name, entry in described.items():
        if name == "__metadata__":
            continue
        tensor = StoredTensor(name, path, tuple(map(int, entry["shape"])), str(entry["dtype"]))
        begin, stop = entry["data_offsets"]
        if tensor.dtype not in _ITEM_BYTES:
            raise ValueError(f"tensor {name} has the unknown dtype {tensor.dtype}")
        if stop - begin != tensor.nbytes:
            raise ValueError(f"tensor {name}: offsets and shape disagree")
        tensors.append(tensor)
        end = max(end, int(stop))
    return tuple(tensors), end
