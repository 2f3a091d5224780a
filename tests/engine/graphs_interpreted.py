"""Scores over fixed memory and prepared launches: run with TRITON_INTERPRET=1 and a checkpoint.

Prints the codec for which they have the bits of one launch a layer, for two batches in turn.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import torch

from minireranker import Reranker
from minireranker.engine.ascent import Ascent
from minireranker.engine.attending import attend_prepared, attend_singly, schedule_of, stacks_of
from minireranker.engine.extents import Extents
from minireranker.engine.fixed import Fixed, Room
from minireranker.kernels.band_attention.prepared import Prepared

_TESTS = runpy.run_path(str(Path(__file__).with_name("test_graphs.py")))
Pass, batch_of = _TESTS["Pass"], _TESTS["batch_of"]


def check(checkpoint: str, codec: str) -> None:
    reranker = Reranker.from_pretrained(
        checkpoint, profile="mini", dtype="float32", backend="triton"
    )
    work = Pass(reranker, ["a red circle", "words " * 9], codec)
    model, header, band = work.state.model, work.header, work.state.band
    fixed = prepared = None
    for words in (("round", "green or blue"), ("red", "blue or not")):
        pairs = work.pairs(*words)
        batch = batch_of(pairs)
        room = Room.of(batch)
        stacks = stacks_of(batch.documents, torch.float32)
        sizes = {"rows": room.rows, "pairs": room.pairs}
        schedule = schedule_of(batch, stacks, header, band, model, **sizes)
        if fixed is None or prepared is None:
            fixed = Fixed(room, len(schedule.array), model)
            prepared = Prepared(schedule, fixed.table)
        prepared.adopt(schedule)
        fixed.fill(batch, schedule.array)
        attend = attend_prepared(prepared, header, band)
        scores = fixed.ascent.scores(model, band, attend)[: batch.pairs]
        extents = Extents("triton")
        singly = attend_singly(batch, header, band, "triton", extents, continues=False)
        expected = Ascent.of(batch, model).scores(model, band, singly)
        assert torch.equal(scores, expected), codec
    assert torch.equal(work.scores(pairs), expected), "one table for all layers, without room"
    print(codec)


if __name__ == "__main__":
    with torch.inference_mode():
        check(sys.argv[1], "int8")
