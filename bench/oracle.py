"""The oracle: one pair as one full sequence through the published ``transformers`` layers.

Method, section 5. The tokens, positions and kept visual tokens are the engine's own (prompts are
checked against the published processor elsewhere); everything computed from them is transformers':
vision tower, decoder layers with one explicit mask a layer, final norm, head. The cached path must
give the same score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minireranker.engine import Document, Query, Reranker
from minireranker.engine.draft import Segment
from minireranker.engine.prompt import Side
from minireranker.engine.reading import read_content
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter


class FullSequenceModel:
    """A checkpoint loaded by ``transformers``, run with the method's masks.

    ``dtype``: of weights and arithmetic; float64 gives the reference for lower precisions.
    """

    def __init__(self, checkpoint: str | Path, *, dtype: torch.dtype, device: str = "cpu") -> None:
        """Load the whole model; nothing of ours takes part."""
        from transformers import Qwen3VLForConditionalGeneration

        with quietly():
            loaded = Qwen3VLForConditionalGeneration.from_pretrained(
                str(checkpoint), dtype=dtype, attn_implementation="sdpa"
            )
        self.model = loaded.to(device).eval()
        self.device = torch.device(device)

    @torch.inference_mode()
    def scores(
        self,
        reranker: Reranker,
        query: Any,
        documents: Sequence[Any],
        instruction: str | None = None,
    ) -> list[float]:
        """Raw logit difference of each pair, computed alone and whole."""
        state = reranker.state
        asked = Query.of(query).content
        guide = state.guide(Meter())
        query_side = guide.side(asked, read_content(asked, state.profile.limits))
        out = []
        for document in documents:
            content = Document.of(document).content
            query_first = state.profile.template.order == "query-first" or (
                asked.is_visual and not content.is_visual
            )
            side = guide.side(content, read_content(content, state.profile.limits))
            front, back = (query_side, side) if query_first else (side, query_side)
            segments = pair_segments(state, front, back, instruction, query_first=query_first)
            out.append(self._score(state, segments))
        return out

    @torch.inference_mode()
    def published_score(
        self, reranker: Reranker, query: Any, document: Any, instruction: str | None = None
    ) -> float:
        """One pair through the unmodified ``Qwen3VLForConditionalGeneration``: no mask, no exit.

        The pair is written in the reranker's template, with every visual token kept.
        """
        state = reranker.state
        asked, content = Query.of(query).content, Document.of(document).content
        query_first = state.profile.template.order == "query-first" or (
            asked.is_visual and not content.is_visual
        )
        limits = state.profile.limits
        sides = [read_content(item, limits).pruned((), 1.0) for item in (asked, content)]
        front, back = sides if query_first else reversed(sides)
        segments = pair_segments(state, front, back, instruction, query_first=query_first)
        out = self.model(**self._published_inputs(state, segments), logits_to_keep=1)
        tokenizer = state.prompt.tokenizer
        logits = out.logits[0, -1].to(torch.float32)
        return float(logits[tokenizer.yes] - logits[tokenizer.no])

    def _published_inputs(
        self, state: EngineState, segments: Sequence[Segment]
    ) -> dict[str, Tensor]:
        """What transformers' own processor would return: ids, token types, pixels, grids."""
        ids = np.concatenate([segment.input_ids for segment in segments])
        control = state.prompt.tokenizer.added
        images, videos = ids == control["<|image_pad|>"], ids == control["<|video_pad|>"]
        inputs = {
            "input_ids": torch.from_numpy(ids)[None],
            "mm_token_type_ids": torch.from_numpy(images + 2 * videos)[None].int(),
        }
        visuals = [visual for segment in segments for visual in segment.visuals]
        for kind, pixels, grids in (
            ("image", "pixel_values", "image_grid_thw"),
            ("video", "pixel_values_videos", "video_grid_thw"),
        ):
            chosen = [visual for visual in visuals if visual.kind == kind]
            if chosen:
                patches = [v.patches(state.pixel_mean, state.pixel_std) for v in chosen]
                inputs[pixels] = torch.from_numpy(np.concatenate(patches))
                inputs[grids] = torch.tensor([v.grid for v in chosen])
        return {name: value.to(self.device) for name, value in inputs.items()}

    def _score(self, state: EngineState, segments: tuple[Segment, Segment, Segment]) -> float:
        """One (header, first, second) as one sequence."""
        x, positions, injections = self._embed(state, segments)
        text = self.model.model.language_model
        rope = text.rotary_emb(x, positions[:, None])
        masks = [_mask(list(map(len, segments)), see, x) for see in (False, True)]
        band = state.band
        for index, layer in enumerate(text.layers[: band.exit_layer]):
            mask = masks[band.low <= index < band.high]
            out = layer(x, position_embeddings=rope, attention_mask=mask)
            x = out[0] if isinstance(out, tuple) else out
            if index < len(injections):
                x = x + injections[index]
        wide = torch.promote_types(x.dtype, torch.float32)
        last = text.norm(x[0, -1]).to(wide)
        head = self.model.lm_head.weight
        yes, no = state.prompt.tokenizer.yes, state.prompt.tokenizer.no
        return float(last @ head[yes].to(wide) - last @ head[no].to(wide))

    def _embed(
        self, state: EngineState, segments: Sequence[Segment]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Inputs [1, tokens, hidden], positions [3, tokens], DeepStack maps [1, tokens, hidden]."""
        starts = np.cumsum([0, *(segment.span for segment in segments)])
        offsets = np.cumsum([0, *(len(segment) for segment in segments)])
        ids = np.concatenate([segment.input_ids for segment in segments])
        positions = np.concatenate(
            [s.positions + at for s, at in zip(segments, starts, strict=False)], axis=1
        )
        rows = np.concatenate(
            [s.visual_rows + at for s, at in zip(segments, offsets, strict=False)]
        )
        embeddings = self.model.get_input_embeddings()
        x = embeddings(torch.from_numpy(ids).to(self.device))
        if not len(rows):
            return x[None], torch.from_numpy(positions).to(self.device), []
        at = torch.from_numpy(rows).to(self.device)
        merged, maps = self._features(state, segments)
        x[at] = merged
        injections = []
        for level in maps:
            injected = torch.zeros_like(x)
            injected[at] = level
            injections.append(injected[None])
        return x[None], torch.from_numpy(positions).to(self.device), injections

    def _features(
        self, state: EngineState, segments: Sequence[Segment]
    ) -> tuple[Tensor, list[Tensor]]:
        """The published tower over each visual alone, then only the kept tokens."""
        tower = self.model.model.visual
        merged, levels = [], []
        for segment in segments:
            for visual, kept in zip(segment.visuals, segment.kept, strict=True):
                patches = torch.from_numpy(visual.patches(state.pixel_mean, state.pixel_std))
                grid = torch.tensor([visual.grid], device=self.device)
                out = tower(patches.to(self.device, tower.dtype), grid_thw=grid)
                index = torch.from_numpy(kept).to(self.device)
                merged.append(out.pooler_output[index])
                levels.append([level[index] for level in out.deepstack_features])
        return torch.cat(merged), [torch.cat(level) for level in zip(*levels, strict=True)]


def pair_segments(
    state: EngineState, front: Side, back: Side, instruction: str | None, *, query_first: bool
) -> tuple[Segment, Segment, Segment]:
    """Header, first and second segment of a pair, as the engine writes them."""
    prompt = state.prompt
    asked = instruction or state.profile.template.instruction
    return (
        prompt.header(asked, query_first),
        prompt.first(front, asked, is_query=query_first),
        prompt.second(back, is_query=not query_first),
    )


def full_sequence_scores(
    reranker: Reranker, query: Any, documents: Sequence[Any], instruction: str | None = None
) -> list[float]:
    """Scores of a reranker's pairs by the full-sequence model, in the reranker's own dtype.

    Loads the checkpoint with ``transformers``: memory for the whole model, a second time.
    """
    state = reranker.state
    model = FullSequenceModel(
        reranker.checkpoint, dtype=state.model.dtype, device=str(state.model.device)
    )
    return model.scores(reranker, query, documents, instruction)


def _mask(lengths: Sequence[int], sees_first: bool, like: Tensor) -> Tensor:
    """[1, 1, tokens, tokens] additive: causal; B sees A only where the band says so."""
    header, first, second = lengths
    total = header + first + second
    mask = torch.full((total, total), float("-inf"), dtype=like.dtype, device=like.device).triu_(1)
    if not sees_first:
        mask[header + first :, header : header + first] = float("-inf")
    return mask[None, None]


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and advice."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
