"""What an index is made for: fixed when it is created, the same in all of its files."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch

from minireranker.errors import ConfigurationError, MissingDependencyError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""What token vectors may be kept as; int8 with a float32 scale each."""

ANNS = ("exact", "hnsw")
"""How pooled vectors are searched: all of them, or a graph of neighbours (approximate)."""

LARGEST_DIM = 65536


@dataclass(frozen=True)
class Settings:
    """Of one index. Raises ConfigurationError for what no index can have."""

    identity: str
    """Of the encoder: vectors of two identities cannot be compared."""
    encoder: str
    """Its kind, for people to read."""
    dim: int
    """Of a token vector; 0 for documents that have none."""
    pooled_dim: int
    """Of the pooled vector; 0 for documents that have none."""
    dtype: str = "bfloat16"
    """Of token vectors, a key of DTYPES. Pooled vectors are float32."""
    ann: str = "exact"
    """One of ANNS."""

    def __post_init__(self) -> None:
        """Hold the ranges above."""
        for name in ("identity", "encoder", "dtype", "ann"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"{name} = {value!r}: a text is needed")
            if not value.isprintable():  # lone surrogates are not either: no file can have them
                raise ConfigurationError(f"{name} = {value!r}: leave out what no printer prints")
        for name in ("dim", "pooled_dim"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= LARGEST_DIM:
                raise ConfigurationError(f"{name} = {value!r}: allowed is 0 to {LARGEST_DIM}")
        if not self.dim and not self.pooled_dim:
            raise ConfigurationError("dim and pooled_dim are both 0: give at least one")
        if self.dtype not in DTYPES:
            raise ConfigurationError(f"dtype = {self.dtype!r}: allowed is {', '.join(DTYPES)}")
        if self.ann not in ANNS:
            raise ConfigurationError(f"ann = {self.ann!r}: allowed is {', '.join(ANNS)}")
        if self.ann != "exact" and not self.pooled_dim:
            raise ConfigurationError(f"ann = {self.ann!r} searches pooled vectors: pooled_dim is 0")

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of token vectors."""
        return DTYPES[self.dtype]

    @property
    def token_bytes(self) -> int:
        """Bytes of a token vector without its scale."""
        return self.dim * self.torch_dtype.itemsize

    @property
    def has_scales(self) -> bool:
        """Whether every token vector has one."""
        return self.dtype == "int8" and self.dim > 0

    def need_packages(self) -> None:
        """Raise MissingDependencyError if what ``ann`` needs is not installed."""
        if self.ann == "hnsw" and importlib.util.find_spec("usearch") is None:
            raise MissingDependencyError(
                'ann = "hnsw" needs usearch: pip install "minireranker[ann]", or make the index '
                'with ann="exact"'
            )
