"""One immutable file of documents: their ids, sources, pooled and token vectors, as mapped."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import InputError

from .checked_file import CheckedFile, damage
from .damages import explain
from .layout import ENDS, HEADER_BYTES, Layout
from .segment_file import Entry
from .settings import Settings

SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True)
class Keys:
    """Ids to be looked up, ready for it."""

    encoded: list[bytes]
    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, ids: Sequence[str]) -> Keys:
        """Ids that are no valid text are kept: nothing has them. Raises InputError for no texts."""
        from xxhash import xxh3_64_intdigest

        if isinstance(ids, str):
            raise InputError(f"ids = {ids!r} is one text: give a list of ids")
        for name in ids:
            if not isinstance(name, str):
                raise InputError(f"document id {name!r}: a text is needed")
        encoded = [name.encode("utf-8", "surrogatepass") for name in ids]
        hashes = (xxh3_64_intdigest(name) for name in encoded)
        return cls(encoded, np.fromiter(hashes, np.uint64, len(encoded)))


class Segment:
    """Reads one. Row = place of a document in it, deleted ones included.

    Every method raises VectorIndexError where the bytes it needs have changed.
    """

    def __init__(self, path: Path, entry: Entry, settings: Settings) -> None:
        """Map it. Raises FileNotFoundError, VectorIndexError."""
        self.entry, self.settings = entry, settings
        self.file = CheckedFile(path, entry.bytes, entry.root)
        header = self.file.read(0, min(HEADER_BYTES, self.file.end)).numpy().tobytes()
        layout = Layout.of_header(settings, header) if len(header) == HEADER_BYTES else None
        if layout is None or layout.end != self.file.end:
            raise damage(path, "it belongs to an index of other settings")
        self.layout, self.documents = layout, layout.counts.documents
        self.file.explain = functools.partial(explain, self)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """[n] int64, rising."""
        return self.whole("numbers", np.dtype(np.int64))

    @cached_property
    def kills(self) -> NDArray[np.int64]:
        """int64, rising: numbers of documents of other segments that no longer exist."""
        return self.whole("kills", np.dtype(np.int64))

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """[n] uint64 of the ids, by row."""
        found = np.empty(self.documents, np.uint64)
        found[self.whole("hash_rows", np.dtype(np.uint32))] = self._sorted_hashes
        return found

    def ends(self, part: str) -> NDArray[np.int64]:
        """[n + 1]: row i has items [ends[i], ends[i + 1]) of ``part``, a key of ENDS."""
        name = ENDS[part]
        if name not in self._ends:
            self._ends[name] = self.whole(name, np.dtype(np.int64))
        return self._ends[name]

    def span(self, part: str, first: int, last: int) -> tuple[int, int]:
        """Bytes of the file that rows first to last (excluded) have of a part."""
        if part in ENDS:
            first, last = (int(end) for end in self.ends(part)[[first, last]])
        start, size = self.layout.spans[part][0], self.layout.item_bytes(part)
        return start + first * size, start + last * size

    def raw(self, part: str, first: int, last: int) -> NDArray[np.uint8]:
        """Those bytes, not copied."""
        return self.file.read(*self.span(part, first, last)).numpy()

    def whole(self, part: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """A part without ENDS, as an array over the map."""
        return self.file.read(*self.layout.spans[part]).numpy().view(dtype)

    def text(self, part: str, row: int) -> str:
        """An id or a source ("" for None)."""
        return self.raw(part, row, row + 1).tobytes().decode()

    def texts(self, part: str, rows: NDArray[np.int64]) -> list[str]:
        """Many of them."""
        self.check_rows(part, rows)
        start, stop = self.layout.spans[part]
        view, ends = self.file.bytes[start:stop].numpy().data, self.ends(part)
        spans = zip(ends[rows].tolist(), ends[rows + 1].tolist(), strict=True)
        return [str(view[first:last], "utf-8") for first, last in spans]

    def find(self, keys: Keys) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Which of the keys are here, and their rows; deleted or not."""
        low, high = (np.searchsorted(self._sorted_hashes, keys.hashes, at) for at in SIDES)
        places, rows = list[int](), list[int]()
        for place in np.flatnonzero(high > low).tolist():
            for row in self._hash_rows[low[place] : high[place]].tolist():
                if self.raw("ids", row, row + 1).tobytes() == keys.encoded[place]:
                    places.append(place)
                    rows.append(row)
        return np.array(places, np.intp), np.array(rows, np.int64)

    def pooled(self, first: int, last: int) -> Tensor:
        """[last - first, pooled_dim] float32 of those rows, not copied."""
        self.file.check(*self.span("pooled", first, last))
        return self.mapped_pooled[first:last]

    @cached_property
    def mapped_pooled(self) -> Tensor:
        """[n, pooled_dim] float32 of all rows, not copied and NOT checked: ``check_rows`` first."""
        start, stop = self.layout.spans["pooled"]
        flat = self.file.bytes[start:stop].view(torch.float32)
        return flat.view(self.documents, self.settings.pooled_dim)

    @cached_property
    def pool(self) -> Tensor:
        """[tokens, dim] of all rows, not copied and NOT checked: ``check_rows`` first."""
        start, stop = self.layout.spans["tokens"]
        flat = self.file.bytes[start:stop].view(self.settings.torch_dtype)
        return flat.view(self.layout.counts.tokens, self.settings.dim)

    @cached_property
    def scales(self) -> Tensor | None:
        """[tokens] float32, as ``pool``; None where there are none."""
        start, stop = self.layout.spans["scales"]
        has = self.settings.has_scales
        return self.file.bytes[start:stop].view(torch.float32) if has else None

    def check_rows(self, part: str, rows: NDArray[np.int64]) -> None:
        """Raise VectorIndexError unless what these rows have of a part is as written."""
        first, last = self.layout.spans[part]
        if first == last:
            return
        starts, stops, size = rows, rows + 1, self.layout.item_bytes(part)
        if part in ENDS:
            starts, stops = self.ends(part)[rows], self.ends(part)[rows + 1]
        some = stops > starts
        if some.any():
            self.file.check_all(first + starts[some] * size, first + stops[some] * size)

    @cached_property
    def _ends(self) -> dict[str, NDArray[np.int64]]:
        return {}

    @cached_property
    def _sorted_hashes(self) -> NDArray[np.uint64]:
        return self.whole("hashes", np.dtype(np.uint64))

    @cached_property
    def _hash_rows(self) -> NDArray[np.uint32]:
        return self.whole("hash_rows", np.dtype(np.uint32))
