"""The training pass has the gradient that autograd finds through the published layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minireranker import Document, Profile, Query, Reranker, Template
from minireranker.bench.oracle import FullSequenceModel, _mask
from minireranker.engine.draft import Segment
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter
from minireranker.train.batch import PairBatch, WrittenPair
from minireranker.train.forward import PairForward
from minireranker.train.settings import TrainSettings
from minireranker.train.trained import Trained
from minireranker.train.writing import PairWriter

Score = Callable[[FullSequenceModel, EngineState, tuple[Segment, Segment, Segment]], Tensor]

WEIGHTS = [1.0, -2.0, 0.5, 3.0, -0.25, 1.5]
"""Of the pairs' scores in what is differentiated."""


def written(state: EngineState) -> list[WrittenPair]:
    """Two queries, each with two pictures of other sizes and a text."""
    writer = PairWriter(state.prompt, state.guide(Meter()))
    documents = [Document(text="a blue table")]
    for seed, (height, width) in enumerate([(64, 96), (96, 64)]):
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        worth = random.random((height // 32, width // 32))
        documents.append(Document(image=pixels, importances=worth))
    queries = [Query(text="a red circle"), Query(text="the left page")]
    return [writer.write(q.content, d.content, None) for q in queries for d in documents]


def published(
    oracle: FullSequenceModel, state: EngineState, segments: tuple[Segment, Segment, Segment]
) -> Tensor:
    """The unmodified model on the whole sequence."""
    out = oracle.model(**oracle._published_inputs(state, segments), logits_to_keep=1)
    logits = out.logits[0, -1]
    return logits[state.prompt.tokenizer.yes] - logits[state.prompt.tokenizer.no]


def masked(
    oracle: FullSequenceModel, state: EngineState, segments: tuple[Segment, Segment, Segment]
) -> Tensor:
    """Its layers up to the exit, with one mask a layer, on the kept tokens."""
    x, positions, injections = oracle._embed(state, segments)
    text = oracle.model.model.language_model
    rope = text.rotary_emb(x, positions[:, None])
    masks = [_mask([len(segment) for segment in segments], see, x) for see in (False, True)]
    for index in range(state.band.exit_layer):
        in_band = state.band.low <= index < state.band.high
        out = text.layers[index](x, position_embeddings=rope, attention_mask=masks[in_band])
        x = out[0] if isinstance(out, tuple) else out
        x = x + injections[index] if index < len(injections) else x
    head = oracle.model.lm_head.weight
    rows = head[state.prompt.tokenizer.yes] - head[state.prompt.tokenizer.no]
    return text.norm(x[0, -1]) @ rows


FORMS: dict[str, tuple[Profile, Score]] = {
    "dense": (Profile("dense", None, None, 1.0), published),
    "mini": (Profile("mini", 5, (2, 4), 0.5), masked),
    "band to the exit": (Profile("own", 5, (3, 5), 0.5), masked),
    "query first": (Profile("own", 6, (1, 6), 1.0, template=Template(order="query-first")), masked),
}


def ours(trained: Trained, state: EngineState, batch: PairBatch) -> dict[str, Tensor]:
    run = PairForward(trained.model, state.packer(Meter()), state.band)
    (run(batch).double() @ torch.tensor(WEIGHTS).double()).backward()
    return {
        name: master.grad for name, master in trained.masters.items() if master.grad is not None
    }


def theirs(oracle: FullSequenceModel, state: EngineState, score: Score) -> dict[str, Tensor]:
    """By our names. Each pair alone, so that nothing is shared."""
    oracle.model.requires_grad_(True)
    oracle.model.zero_grad()
    for weight, pair in zip(WEIGHTS, written(state), strict=True):
        (score(oracle, state, (pair.header, pair.first, pair.second)) * weight).backward()
    found = {}
    for name, parameter in oracle.model.named_parameters():
        if parameter.grad is not None:
            name = name.replace("model.language_model.", "decoder.")
            found[name.replace("model.visual.", "vision.")] = parameter.grad
    answers = [state.prompt.tokenizer.yes, state.prompt.tokenizer.no]
    found["lm_head.rows"] = found.pop("lm_head.weight")[answers]
    return found


@pytest.fixture(scope="module")
def plain(tiny: Path) -> FullSequenceModel:
    return FullSequenceModel(tiny, dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [True, False])
def test_the_gradient_is_that_of_whole_sequences(
    form: str, share: bool, tiny: Path, plain: FullSequenceModel
) -> None:
    profile, score = FORMS[form]
    state = Reranker.from_pretrained(tiny, profile=profile, dtype="float64").state
    given: dict[str, Any] = {"method": "full", "vision": True}
    trained = Trained(state, TrainSettings(tiny, ("none",), "none", **given))
    batch = PairBatch.of(written(state), share=share)
    shared = 2 if profile.template.order == "query-first" else 3
    assert len(batch.firsts) == (shared if share else 6)
    found, wanted = ours(trained, state, batch), theirs(plain, state, score)
    moved = {name for name, gradient in wanted.items() if float(gradient.abs().max()) > 0}
    assert moved <= set(found)
    assert len(moved) > 11 * state.band.exit_layer
    for name, gradient in found.items():
        # transformers takes norms and rotations in float32, whatever the model is in.
        scale = float(wanted[name].abs().max()) if name in wanted else 0.0
        torch.testing.assert_close(
            gradient.double(),
            wanted.get(name, torch.zeros_like(gradient).double()),
            atol=1e-4 * scale + 1e-9,
            rtol=0,
            msg=lambda told, name=name: f"{name}: {told}",
        )
