"""MetaEmbed's learnt embeddings, and the two files they are kept in beside a checkpoint."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minireranker.errors import CheckpointError

from .group import CANDIDATE_TOKENS, GROUPS, QUERY_TOKENS
from .identity import digest_of

WEIGHTS, SETTINGS = "metaembed.safetensors", "metaembed.json"
_DEVIATION = 0.02
"""Of untrained tokens: what Qwen3-VL's own embeddings begin with."""


@dataclass(frozen=True, eq=False)
class MetaTokens:
    """16 query and 64 candidate tokens, each an input embedding."""

    query: Tensor
    """[16, hidden] float32."""
    candidate: Tensor
    """[64, hidden] float32."""

    def __post_init__(self) -> None:
        """Raises ValueError for other shapes."""
        width = self.query.shape[-1] if self.query.ndim else 0
        shapes = tuple(self.query.shape), tuple(self.candidate.shape)
        if shapes != ((QUERY_TOKENS, width), (CANDIDATE_TOKENS, width)):
            raise ValueError(f"meta tokens of shapes {shapes[0]} and {shapes[1]}")

    @classmethod
    def random(cls, width: int, seed: int) -> MetaTokens:
        """Untrained; the same seed gives the same."""
        generator = torch.Generator().manual_seed(seed)
        counts = QUERY_TOKENS, CANDIDATE_TOKENS
        query, candidate = (torch.randn(n, width, generator=generator) for n in counts)
        return cls(query * _DEVIATION, candidate * _DEVIATION)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> MetaTokens:
        """From a folder that ``save`` wrote to. Raises CheckpointError for any other."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = Path(folder) / WEIGHTS
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no {WEIGHTS}: no MetaEmbed checkpoint; train one, or write "
                "untrained tokens into a copy of an embedder's checkpoint with "
                "MetaEmbed.initialise(embedder, seed).save(copy)"
            )
        try:
            settings = json.loads((path.parent / SETTINGS).read_text(encoding="utf-8"))
            tensors = load_file(path)
            tokens = cls(tensors["query"].float(), tensors["candidate"].float())
        except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
            raise CheckpointError(
                f"{path} and {SETTINGS} beside it are no meta tokens ({error}); copy both again"
            ) from error
        if settings != tokens.settings:
            raise CheckpointError(f"{path.parent / SETTINGS} is not that of {WEIGHTS}: copy both")
        if not torch.isfinite(tokens.all).all():
            raise CheckpointError(f"{path} holds NaN or infinity; train the tokens again")
        return tokens

    @property
    def all(self) -> Tensor:
        """[80, hidden]: in the order they are appended, the query's first."""
        return torch.cat((self.query, self.candidate))

    @property
    def width(self) -> int:
        """Of an embedding."""
        return self.query.shape[1]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the numbers."""
        return digest_of((("query", self.query), ("candidate", self.candidate)))

    @property
    def settings(self) -> dict[str, Any]:
        """What the JSON file says."""
        return {
            "format": 1,
            "query_tokens": QUERY_TOKENS,
            "candidate_tokens": CANDIDATE_TOKENS,
            "hidden_size": self.width,
            "groups": [list(group) for group in GROUPS],
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write both files into a folder, which is made if need be."""
        from safetensors.torch import save_file

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        parts = {"query": self.query, "candidate": self.candidate}
        tensors = {name: part.detach().cpu().contiguous() for name, part in parts.items()}
        save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
        (target / WEIGHTS).chmod(0o644)  # the library leaves it to its owner alone
        text = json.dumps(self.settings, indent=2) + "\n"
        (target / SETTINGS).write_text(text, encoding="utf-8")
