"""Weight files written anew with some tensors changed, one tensor in memory at a time.

Format: https://github.com/huggingface/safetensors#format (8 bytes little-endian header length, a
JSON header padded with blanks, the tensors' bytes).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from minireranker.models.layout import split_prefix
from minireranker.models.shard import Shard, StoredTensor

from .trained import Change

_CODES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_NUMBERS = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}


def rewrite(
    shard: Shard,
    out: Path,
    changes: Mapping[str, Change],
    dtype: str | None,
    advance: Callable[[int], None],
) -> int:
    """Write the tensors of ``shard`` to ``out``, those in ``changes`` (canonical names) changed.

    ``dtype``: of all floating-point tensors; None: each as it was. ``advance`` is told the bytes of
    each. Returns the bytes of all.
    """
    codes = {t.name: _code(t, dtype) for t in shard.tensors}
    header, total = _header(shard, codes)
    with out.open("wb") as file, safe_open(shard.path, framework="pt") as opened:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for stored in shard.tensors:
            value = opened.get_tensor(stored.name)
            change = changes.get(split_prefix(stored.name)[1])
            changed = value if change is None else _checked(change(value), stored)
            if stored.dtype in _NUMBERS:
                changed = changed.to("cpu", _NUMBERS[codes[stored.name]])
            file.write(_bytes(changed))
            advance(stored.nbytes)
    return total


def _code(stored: StoredTensor, dtype: str | None) -> str:
    return stored.dtype if dtype is None or stored.dtype not in _NUMBERS else _CODES[dtype]


def _header(shard: Shard, codes: Mapping[str, str]) -> tuple[bytes, int]:
    """The bytes of the header, and of the tensors behind it, in their order."""
    described: dict[str, Any] = json.loads(shard.header)
    described = {k: v for k, v in described.items() if k == "__metadata__"}
    at = 0
    for stored in shard.tensors:
        code = codes[stored.name]
        size = math.prod(stored.shape) * (_NUMBERS[code].itemsize if code in _NUMBERS else 0)
        size = stored.nbytes if code == stored.dtype else size
        offsets = [at, at + size]
        described[stored.name] = {
            "dtype": code,
            "shape": list(stored.shape),
            "data_offsets": offsets,
        }
        at += size
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8), at


def _checked(changed: Tensor, stored: StoredTensor) -> Tensor:
    assert tuple(changed.shape) == stored.shape, f"{stored.name} keeps its shape"
    return changed


def _bytes(tensor: Tensor) -> memoryview:
    array: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)
