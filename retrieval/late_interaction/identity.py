"""One name for everything that changes a document's vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def identity_of(**parts: Any) -> str:
    """Hex SHA-256 of the parts, which JSON has to be able to write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Hex SHA-256 of names, shapes and every byte."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}\0".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
