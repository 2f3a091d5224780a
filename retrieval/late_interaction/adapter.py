"""SMART's adapter: a LayerNorm and a matrix between the embedder's states and the token vectors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from minireranker.errors import CheckpointError

from .identity import digest_of

_NAMES = frozenset({"norm.weight", "norm.bias", "linear.weight"})


class Adapter(nn.Module):
    """LayerNorm, then Linear(dim, dim) without bias, in float32 (arXiv 2605.24938).

    It sees the states after the final norm; what comes out is normalised by who uses it.
    """

    def __init__(self, dim: int) -> None:
        """It begins as LayerNorm alone: the matrix is the identity."""
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.linear.weight)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """From a file that ``save`` wrote. Raises CheckpointError for any other."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: no adapter can be read from it ({error})") from error
        if set(tensors) != _NAMES:
            raise CheckpointError(
                f"{path} holds {', '.join(sorted(tensors)[:5]) or 'nothing'}: an adapter is "
                f"{', '.join(sorted(_NAMES))}; name a file that Adapter.save wrote"
            )
        adapter = cls(max(1, tensors["norm.weight"].numel()))
        try:
            adapter.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"{path}: tensors of one adapter do not fit together") from error
        if not all(torch.isfinite(each).all() for each in adapter.parameters()):
            raise CheckpointError(f"{path} holds NaN or infinity; train the adapter again")
        return adapter

    @property
    def dim(self) -> int:
        """Width of what goes in and comes out."""
        return self.linear.in_features

    @property
    def digest(self) -> str:
        """Hex SHA-256 of its numbers."""
        return digest_of(sorted(self.state_dict().items()))

    def forward(self, states: Tensor) -> Tensor:
        """[tokens, dim] to [tokens, dim]."""
        out: Tensor = self.linear(self.norm(states))
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all; its folder is made if need be."""
        from safetensors.torch import save_file

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{os.getpid()}")
        tensors = {name: each.detach().cpu() for name, each in self.state_dict().items()}
        try:
            save_file(tensors, scratch, metadata={"format": "pt"})
            scratch.chmod(0o644)  # the library leaves it to its owner alone
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
