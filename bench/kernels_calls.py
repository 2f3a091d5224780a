"""The calls of band attention that ``bench kernels`` times: their tensors, arithmetic and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from minireranker.kernels.band_attention import Extent

__all__ = ["NUMBERS", "Heads", "Rows", "Shape"]

NUMBERS: dict[str, tuple[tuple[int, ...], ...]] = {
    "exact": (),
    "int8": ((0,), (2,)),
    "float8_e4m3fn": ((0, 2), (0, 2)),
}
"""What prefixes are kept in; exact: the queries' dtype, no scales. Over which dimensions of
[tokens, kv_heads, head_dim] K and V share a scale: as the cache's codecs do, K in int8 has one a
channel, V one a token, and in float8 each has one a head."""

LARGEST = {"int8": 127, "float8_e4m3fn": 448}
"""The largest number there is."""


@dataclass(frozen=True)
class Heads:
    """Of a decoder layer."""

    queries: int = 16
    keys: int = 8
    dim: int = 128


@dataclass(frozen=True)
class Shape:
    """Lengths of one call."""

    documents: int
    prefix: int
    """Mean tokens of a document; lengths are drawn evenly from 0.8 to 1.2 times that."""
    queries: int
    """Rows of each document, next to each other."""
    suffix: int
    """Own tokens a row."""
    tokens: int
    """Query tokens a row, the last of its own."""
    header: int

    @property
    def name(self) -> str:
        """In words."""
        rows = f"{self.queries} x " if self.queries > 1 else ""
        return (
            f"{self.documents} documents of {self.prefix}, header {self.header}, "
            f"{rows}{self.tokens} of {self.suffix} suffix tokens"
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """The arguments of a call whose rows have equally many tokens."""

    q: Tensor
    """[rows, tokens, heads, head_dim]."""
    k: Tensor
    """[rows, suffix, kv_heads, head_dim]; as is ``v``."""
    v: Tensor
    header: Extent | None
    prefixes: list[Extent]

    def attend(self, backend: str) -> Tensor:
        """[rows, tokens, heads, head_dim]."""
        from minireranker.kernels.band_attention import band_attention

        rows, tokens, suffix = len(self.q), self.q.shape[1], self.k.shape[1]
        out = band_attention(
            *(part.flatten(0, 1) for part in (self.q, self.k, self.v)),
            cu_seqlens_q=range(0, rows * tokens + 1, tokens),
            cu_seqlens_k=range(0, rows * suffix + 1, suffix),
            header=self.header,
            prefixes=self.prefixes,
            backend=backend,
        )
        return out.view(self.q.shape)

    def every(self, step: int) -> Rows:
        """Row 0 and every ``step``-th after it."""
        q, k, v = (part[::step] for part in (self.q, self.k, self.v))
        return Rows(q, k, v, self.header, self.prefixes[::step])

    def wide(self) -> Rows:
        """In float64; quantised prefixes stay what they are."""
        kept = [prefix if prefix.k_scale is not None else _wide(prefix) for prefix in self.prefixes]
        header = None if self.header is None else _wide(self.header)
        return Rows(self.q.double(), self.k.double(), self.v.double(), header, kept)

    @property
    def flop(self) -> float:
        """Multiplications and additions of both products, over what each query token sees."""
        tokens, suffix = self.q.shape[1], self.k.shape[1]
        before = sum(len(prefix.k) for prefix in self.prefixes)
        before += len(self.q) * (len(self.header.k) if self.header is not None else 0)
        own = len(self.q) * (suffix - tokens + (tokens + 1) / 2)
        return 4.0 * tokens * (before + own) * self.q.shape[2] * self.q.shape[3]

    @property
    def kv_bytes(self) -> int:
        """K, V and scales, each document's and the header's once."""
        extents = {id(extent): extent for extent in (self.header, *self.prefixes)}.values()
        parts = [part for extent in extents if extent for part in extent if part is not None]
        return sum(part.nbytes for part in (*parts, self.k, self.v))

    @property
    def nbytes(self) -> int:
        """What has to be read or written: K and V once, the queries, the output."""
        return self.kv_bytes + 2 * self.q.nbytes

    @classmethod
    def drawn(
        cls, shape: Shape, heads: Heads, dtype: torch.dtype, numbers: str, device: torch.device
    ) -> Rows:
        """Normal values, always the same; documents lie one after the other in a pool."""
        import torch

        from minireranker.kernels.band_attention import Extent

        random = torch.Generator().manual_seed(0)

        def draw(*sizes: int) -> Tensor:
            return torch.randn(*sizes, heads.dim, generator=random).to(device, dtype)

        bounds = (max(1, round(0.8 * shape.prefix)), round(1.2 * shape.prefix) + 1)
        lengths = torch.randint(*bounds, (shape.documents,), generator=random).tolist()
        rows = shape.documents * shape.queries
        documents = _documents(lengths, lambda length: draw(2, length, heads.keys), numbers)
        return cls(
            draw(rows, shape.tokens, heads.queries),
            draw(rows, shape.suffix, heads.keys),
            draw(rows, shape.suffix, heads.keys),
            Extent(*draw(2, shape.header, heads.keys)) if shape.header else None,
            [document for document in documents for _ in range(shape.queries)],
        )


def _wide(extent: Extent) -> Extent:
    from minireranker.kernels.band_attention import Extent

    return Extent(extent.k.double(), extent.v.double())


def _documents(lengths: list[int], draw: Callable[[int], Tensor], numbers: str) -> list[Extent]:
    """Views into one pool, [2, tokens of all, kv_heads, head_dim]; scales of their own."""
    import torch

    from minireranker.kernels.band_attention import Extent

    if numbers == "exact":
        pool = torch.cat([draw(length) for length in lengths], 1)
        return [Extent(*part) for part in torch.split(pool, lengths, 1)]
    made = [_quantised(draw(length), numbers) for length in lengths]
    pool = torch.cat([codes for codes, _, _ in made], 1)
    parts = zip(torch.split(pool, lengths, 1), made, strict=True)
    return [Extent(*codes, *scales) for codes, (_, *scales) in parts]


def _quantised(values: Tensor, numbers: str) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of K and V [2, tokens, kv_heads, head_dim], and the scales of each."""
    import torch

    wide = values.float()
    scales = [
        part.abs().amax(over, keepdim=True) / LARGEST[numbers]
        for part, over in zip(wide, NUMBERS[numbers], strict=True)
    ]
    codes = torch.stack([part / scale for part, scale in zip(wide, scales, strict=True)])
    codes = codes.round() if numbers == "int8" else codes
    return codes.to(getattr(torch, numbers)), *scales
