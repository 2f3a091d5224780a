"""Nothing between the inputs and the scores makes the host wait for the device.

Everything runs on the device "meta", which has no numbers: whoever asks it for one fails.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minireranker import Document, Reranker
from minireranker.engine.features import FeatureReader
from minireranker.engine.packing import Packer
from minireranker.engine.prefix import read_header, read_prefixes
from minireranker.engine.prompt import Side
from minireranker.engine.reading import read_content
from minireranker.engine.scoring import Pair, score_pairs
from minireranker.engine.suffix import read_suffixes
from minireranker.engine.work import Meter

META = torch.device("meta")


class Copies(TorchDispatchMode):
    """Sizes of what goes from the host to the device, by whether the host waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[bool, list[int]] = {False: [], True: []}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_copy = func.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy)
        if is_copy and args[0].device.type == "cpu" and str(kwargs.get("device")) == "meta":
            waits = not (kwargs.get("non_blocking") or True in args[1:])
            self.sizes[waits].append(args[0].numel())
        return func(*args, **kwargs)


@pytest.mark.parametrize("codec", ["exact", "int8", "int4"])
def test_the_device_is_asked_for_numbers_once_at_the_end(
    tiny: Path, picture: Callable[..., Any], codec: str
) -> None:
    reranker = Reranker.from_pretrained(
        tiny, profile="mini", dtype="float32", backend="sdpa", fused=False
    )
    state, prompt = reranker.state, reranker.state.prompt
    instruction = state.profile.template.instruction
    documents = [
        {"image": picture(64, 96)},
        {"video": [[picture(64, 64, n) for n in range(4)]], "text": "a film"},
        " ".join(["more than a pass of words"] * 300),
    ]
    sides = [
        read_content(Document.of(item).content, state.profile.limits).pruned((), 1.0)
        for item in documents
    ]
    model = dataclasses.replace(
        state.model,
        decoder=copy.deepcopy(state.model.decoder).to(META),
        vision=copy.deepcopy(state.model.vision).to(META),
        head=torch.empty(64, device=META),
    )
    meter = Meter()
    packer = Packer(model, FeatureReader(model, (0.5,) * 3, (0.5,) * 3, meter), meter)
    exit_layer, meeting = state.band.exit_layer, state.band.meeting_layer
    done: list[int] = []
    with torch.inference_mode(), Copies() as copies:
        header = read_header(packer, prompt.header(instruction, False), exit_layer, "sdpa")
        segments = [prompt.first(side, instruction, is_query=False) for side in sides]
        entries = read_prefixes(packer, header, segments, state.band, "sdpa", codec)
        second = prompt.second(Side(("a red circle",)), is_query=True)
        seen = prompt.second(sides[0], is_query=True)
        suffixes = read_suffixes(packer, header, [second, seen], [9, 9], meeting, "sdpa")
        pairs = [Pair(entry, suffix) for entry in entries for suffix in suffixes]
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
            score_pairs(
                model,
                header,
                pairs,
                state.band,
                batch_tokens=30,
                backend="sdpa",
                meter=meter,
                step=done.append,
            )
    assert sum(done) == len(pairs), "all batches were queued by then"
    assert len(done) > 1
    assert len(copies.sizes[False]) > 2 * len(done)
    assert copies.sizes[True] == [], "no copy that the host waits for"
