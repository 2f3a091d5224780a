"""Documents about to be appended: checked as a whole, then written piece by piece."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import InputError
from minireranker.retrieval.vectors import TokenVectors

from .columns import Columns, ends_of
from .damages import named
from .layout import Counts, Layout
from .quantise import converted, quantise, scales_of
from .segment import Keys
from .segment_file import Parts
from .settings import Settings

PIECE_BYTES = 2 * 2**20
"""Of token vectors converted at once: what a processor's own cache holds."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents of one append. Raises InputError for what an index cannot keep."""

    settings: Settings
    ids: Sequence[str]
    vectors: TokenVectors
    sources: Sequence[str | None]

    def __post_init__(self) -> None:
        """Look at everything before anything is written."""
        if isinstance(self.ids, str):
            raise InputError(f"ids = {self.ids!r} is one text: give a list of ids")
        if not len(self.ids) == len(self.vectors) == len(self.sources):
            counts = (len(self.ids), len(self.vectors), len(self.sources))
            raise InputError(f"{counts} ids, vectors and sources: give one of each a document")
        _check_texts(self.ids, self.sources)
        self._check_shapes()
        self._check_values()

    @functools.cached_property
    def keys(self) -> Keys:
        """For looking the ids up."""
        return Keys.of(self.ids)

    def _check_shapes(self) -> None:
        settings, pooled = self.settings, self.pooled
        if len(self.vectors.vectors) and self.vectors.dim != settings.dim:
            raise InputError(
                f"token vectors of {self.vectors.dim} dimensions for an index of {settings.dim}: "
                "use the encoder the index was made with"
            )
        if pooled.ndim != 2 or pooled.shape[1] != settings.pooled_dim:
            raise InputError(
                f"pooled vectors {tuple(pooled.shape)} for an index of {settings.pooled_dim} "
                "dimensions: use the encoder the index was made with"
            )

    def _check_values(self) -> None:
        # Squared: a vector whose product with itself is infinite would be found by nobody.
        bad = ~torch.isfinite(self.pooled.square().sum(dim=1)).numpy()
        ends, step = self.vectors.cu_seqlens, self._piece_rows
        dtype = torch.float32 if self.settings.has_scales else self.settings.torch_dtype
        for first in range(0, len(self.vectors.vectors), step):
            rows = self.vectors.vectors[first : first + step]
            scales = self.scales[first : first + step] if len(self.scales) else None
            sound = torch.isfinite(converted(rows.detach(), scales, dtype)).all(dim=1)
            wrong = first + np.flatnonzero(~sound.numpy())
            bad[np.searchsorted(ends, wrong, "right") - 1] = True
        if bad.any():
            names = tuple(self.ids[at] for at in np.flatnonzero(bad).tolist())
            raise InputError(
                f"NaN or infinity in vectors of {named(names)}, or numbers beyond "
                f"{self.settings.dtype}: encode them again"
            )

    @functools.cached_property
    def pooled(self) -> Tensor:
        """[n, pooled_dim] float32."""
        found = self.vectors.pooled
        return found.detach().float() if found is not None else torch.empty(len(self.ids), 0)

    @functools.cached_property
    def scales(self) -> Tensor:
        """[tokens] float32 of int8 vectors, else [0]."""
        found = self.vectors.scales
        return torch.empty(0) if found is None else found.detach().float()

    @property
    def _piece_rows(self) -> int:
        return max(1, PIECE_BYTES // (4 * max(1, self.vectors.dim)))

    def cut(self, most: int) -> list[tuple[int, int]]:
        """Documents first to last (excluded) of each segment of about ``most`` bytes at most."""
        tokens = np.diff(self.vectors.cu_seqlens)
        sizes = tokens * (self.settings.token_bytes + 4) + 4 * self.settings.pooled_dim
        cuts, at = list[tuple[int, int]](), 0
        sums = np.cumsum(sizes)
        while at < len(sums):
            before = int(sums[at - 1]) if at else 0
            end = max(at + 1, int(np.searchsorted(sums, before + most, "right")))
            cuts.append((at, end))
            at = end
        return cuts

    def drawn(
        self, first: int, last: int, number: int, kills: NDArray[np.int64]
    ) -> tuple[Layout, Parts]:
        """A segment of documents first to last (excluded), numbered from ``number``."""
        names = self.keys.encoded[first:last]
        sources = [(source or "").encode() for source in self.sources[first:last]]
        ends = self.vectors.cu_seqlens[first : last + 1]
        pooled = self.pooled[first:last].contiguous()
        numbers = np.arange(number, number + last - first)
        columns = Columns(kills, numbers, self.keys.hashes[first:last], ends - ends[0])
        counts = Counts(last - first, int(ends[-1] - ends[0]), len(kills), *_sizes(names, sources))
        norm = float(pooled.double().norm(dim=1).max()) if last > first else 0.0
        parts: Parts = {
            **columns.parts(ends_of(names), ends_of(sources)),
            "ids": lambda: names,
            "sources": lambda: sources,
            "pooled": lambda: [_bytes_of(pooled)],
            "scales": lambda: self._pieces(ends, scales=True),
            "tokens": lambda: self._pieces(ends, scales=False),
        }
        return Layout(self.settings, counts, norm), parts

    def _pieces(self, ends: NDArray[np.int64], scales: bool) -> Iterator[NDArray[np.uint8]]:
        for first in range(int(ends[0]), int(ends[-1]), self._piece_rows):
            last = min(first + self._piece_rows, int(ends[-1]))
            rows = self.vectors.vectors[first:last].detach()
            own = self.scales[first:last] if self.vectors.scales is not None else None
            if self.settings.dtype != "int8":
                yield _bytes_of(converted(rows, own, self.settings.torch_dtype))
                continue
            if scales:
                yield _bytes_of(scales_of(rows) if own is None else own)
            else:
                yield _bytes_of(quantise(rows)[0] if own is None else rows)


def _sizes(ids: list[bytes], sources: list[bytes]) -> tuple[int, int]:
    return sum(map(len, ids)), sum(map(len, sources))


def _bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    return tensor.contiguous().flatten().view(torch.uint8).numpy()


def _check_texts(ids: Sequence[str], sources: Sequence[str | None]) -> None:
    seen = set[str]()
    for name, source in zip(ids, sources, strict=True):
        if not isinstance(name, str) or not name or name in seen:
            why = "twice in one call" if isinstance(name, str) and name else "a text is needed"
            raise InputError(f"document id {name!r}: {why}")
        if source is not None and (not isinstance(source, str) or not source):
            raise InputError(f"source {source!r} of document {name!r}: give a JSON text, or None")
        seen.add(name)
        try:
            name.encode(), (source or "").encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"document {name!r}: its id or source is no valid Unicode ({error.reason}): "
                "replace the lone surrogates"
            ) from error
