"""Passes recorded on a CUDA device: a batch's hundreds of launches as one.

A recorded pass (a CUDA graph) repeats the same launches on the same memory. So a batch's numbers go
where those of the recorded one were (``fixed.py``), and a pass serves every batch that takes the
same room behind the same header. What the host has to work out it does before, and sends in one
copy.

Written to the documentation of CUDA graphs; not run on a device yet. That the fixed memory gives
the bits of an ordinary pass is tested on the CPU, without recording.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from minireranker.kernels.band_attention.schedule import Schedule, Stack
from minireranker.models.qwen3_vl import Qwen3VL
from minireranker.models.qwen3_vl.decoder import Attend

from .ascent import Batch
from .attending import attend_prepared, schedule_of, stacks_of
from .fixed import Fixed, Room
from .prefix import Band, Header

__all__ = ["Graphs"]

_log = logging.getLogger(__name__)
_cuda: Any = torch.cuda  # half of it has no types

KEPT = 8
"""Recorded passes of one model: the least recently used goes first."""
_NOTED = 256
"""Kinds of batches that are remembered for having come once."""
_one_at_a_time = threading.Lock()
"""A process may record one pass at a time, of whatever model."""
_WARM = 2
"""Ordinary runs before a pass is recorded: kernels are compiled and workspaces made in them."""


class Graphs:
    """The recorded passes of one model, for any thread."""

    def __init__(self, model: Qwen3VL, band: Band) -> None:
        """The model is on a CUDA device, where the backend "triton" runs."""
        self._model, self._band = model, band
        self._pool, self._done = _cuda.graph_pool_handle(), _cuda.Event()
        self._lock = threading.Lock()
        self._passes: OrderedDict[Hashable, _Pass] = OrderedDict()
        self._noted: OrderedDict[Hashable, None] = OrderedDict()
        self._works = True

    def scores(self, header: Header, batch: Batch) -> Tensor | None:
        """Raw logit differences, float32 [pairs]; None where an ordinary pass has to give them.

        That is where documents have to be decoded, and for the first batch of a kind: what comes
        once is not worth recording.
        """
        stacks = stacks_of(batch.documents, self._model.dtype) if self._works else None
        if stacks is None:
            return None
        room = Room.of(batch)
        schedule = self._schedule(batch, stacks, header, room)
        key = (id(header), room, schedule.signature)
        with self._lock:
            found = self._passes.get(key)
            if found is None and self._is_known(key):
                found = self._recorded(key, header, batch, schedule, room)
            if found is None:
                return None
            self._passes.move_to_end(key)
            return self._run(found, batch, schedule)

    def _run(self, found: _Pass, batch: Batch, schedule: Schedule) -> Tensor:
        stream = _cuda.current_stream(self._model.device)
        # All passes work on the memory of one pool: another stream may be at it, with any of them.
        stream.wait_event(self._done)
        scores = found.scores(batch, schedule)
        self._done.record(stream)
        return scores

    def _schedule(self, batch: Batch, stacks: list[Stack], header: Header, room: Room) -> Schedule:
        return schedule_of(
            *(batch, stacks, header, self._band, self._model), rows=room.rows, pairs=room.pairs
        )

    def _is_known(self, key: Hashable) -> bool:
        known = key in self._noted
        self._noted[key] = None
        self._noted.move_to_end(key)
        if len(self._noted) > _NOTED:
            self._noted.popitem(last=False)
        return known

    def _recorded(
        self, key: Hashable, header: Header, batch: Batch, schedule: Schedule, room: Room
    ) -> _Pass | None:
        try:
            made = _Pass(self._model, self._band, header, batch, schedule, room, self._pool)
        except RuntimeError as error:
            # Torch's own words for a driver that records nothing, or a device without memory.
            self._works = False
            _log.warning("passes are not recorded on %s: %s", self._model.device, error)
            return None
        self._passes[key] = made
        if len(self._passes) > KEPT:
            self._passes.popitem(last=False)
        return made


class _Pass:
    """One recorded pass, and the memory it works on."""

    def __init__(
        self,
        model: Qwen3VL,
        band: Band,
        header: Header,
        batch: Batch,
        schedule: Schedule,
        room: Room,
        pool: Any,
    ) -> None:
        """Raises RuntimeError where it cannot be recorded."""
        from minireranker.kernels.band_attention.prepared import Prepared

        # The launches have the header's addresses: it has to stay.
        self._header = header
        self._fixed = Fixed(room, len(schedule.array), model)
        self._fixed.fill(batch, schedule.array)
        self._prepared = Prepared(schedule, self._fixed.table)
        attend = attend_prepared(self._prepared, header, band)
        self._graph = _cuda.CUDAGraph()
        with _one_at_a_time, _cuda.device(model.device):
            self._scores = self._record(model, band, attend, pool)

    def scores(self, batch: Batch, schedule: Schedule) -> Tensor:
        """Float32 [pairs]. The host waits for nothing."""
        self._prepared.adopt(schedule)
        self._fixed.fill(batch, schedule.array)
        self._graph.replay()
        return self._scores[: batch.pairs].clone()

    def _record(self, model: Qwen3VL, band: Band, attend: Attend, pool: Any) -> Tensor:
        stream, side = _cuda.current_stream(), _cuda.Stream()
        side.wait_stream(stream)
        with _cuda.stream(side):
            for _ in range(_WARM):
                self._fixed.ascent.scores(model, band, attend)
        stream.wait_stream(side)
        # Other threads may fetch entries meanwhile: what they do on the device is not recorded.
        keywords = {"pool": pool, "stream": side, "capture_error_mode": "thread_local"}
        with _cuda.graph(self._graph, **keywords):
            scores = self._fixed.ascent.scores(model, band, attend)
        return scores
