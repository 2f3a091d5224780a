"""The checkpoint on ``transformers``: sequences to the logit difference of their last tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration
from transformers.cache_utils import DynamicCache

from .kept import Kept, cache_of, kept_rows
from .pixels import Visual, read_visuals
from .sequence import Side, Tokens


class Model:
    """One checkpoint; ``sdpa`` attention, and only the rows ``yes`` and ``no`` of the head."""

    def __init__(self, directory: str, dtype: str, device: str) -> None:
        """Load it. ``dtype``: float32 or bfloat16."""
        loaded = Qwen3VLForConditionalGeneration.from_pretrained(
            directory, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
        loaded = loaded.to(device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.body, self.device = loaded.model, torch.device(device)
        config = loaded.config
        self.pads = {"image": config.image_token_id, "video": config.video_token_id}
        yes, no = self.tokenizer.convert_tokens_to_ids(["yes", "no"])
        self.direction = loaded.lm_head.weight[yes].float() - loaded.lm_head.weight[no].float()
        path = Path(directory) / "preprocessor_config.json"
        pixels = json.loads(path.read_text(encoding="utf-8"))
        self.mean, self.std = pixels["image_mean"], pixels["image_std"]

    def read(self, content: dict[str, Any], *, is_query: bool) -> Side:
        """A side with its files read."""
        visuals = read_visuals(content, self.mean, self.std)
        return Side(content.get("text") or "", tuple(visuals), is_query)

    def tokens(self, text: str, *sides: Side) -> Tokens:
        """A text that holds those sides' pictures in their order; positions from zero."""
        visuals = tuple(visual for side in sides for visual in side.visuals)
        encoded = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        ids = encoded["input_ids"]
        types = (ids == self.pads["image"]) + 2 * (ids == self.pads["video"])
        grids = {
            kind: torch.tensor([v.grid for v in visuals if v.kind == kind]) for kind in self.pads
        }
        positions, _ = self.body.get_rope_index(
            ids,
            mm_token_type_ids=types.int(),
            image_grid_thw=grids["image"] if len(grids["image"]) else None,
            video_grid_thw=grids["video"] if len(grids["video"]) else None,
        )
        return Tokens(ids[0], positions[:, 0], visuals)

    def prefixes(self, rows: Sequence[Tokens]) -> list[Kept]:
        """Keys and values of first segments, computed together."""
        cache = DynamicCache()
        self._run(rows, [0] * len(rows), past_key_values=cache, use_cache=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # or their seconds would count as the pairs'
        return kept_rows(cache, list(map(len, rows)), [row.span for row in rows])

    def scores(self, rows: Sequence[Tokens], after: Sequence[Kept] | None = None) -> list[float]:
        """Logit difference yes - no behind each row, computed together.

        ``after``: what was kept of the row's beginning.
        """
        if after is None:
            hidden = self._run(rows, [0] * len(rows), use_cache=False)
        else:
            hidden = self._run(
                rows,
                [kept.span for kept in after],
                past_key_values=cache_of(after),
                attention_mask=self._mask(rows, after),
                use_cache=True,
            )
        ends = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        last = hidden[torch.arange(len(rows), device=self.device), ends]
        return [float(score) for score in last.float() @ self.direction]

    def _mask(self, rows: Sequence[Tokens], after: Sequence[Kept]) -> Tensor | None:
        """[rows, past + tokens]: 0 before a shorter past. Nothing sees what pads a row's end."""
        longest = max(map(len, after))
        if all(len(kept) == longest for kept in after):
            return None
        mask = torch.ones(len(rows), longest + max(map(len, rows)), dtype=torch.long)
        for row, kept in enumerate(after):
            mask[row, : longest - len(kept)] = 0
        return mask.to(self.device)

    def _run(self, rows: Sequence[Tokens], starts: Sequence[int], **how: Any) -> Tensor:
        """Hidden states [rows, tokens, hidden] behind the last norm; rows padded at their ends.

        ``starts``: the position of each row's first token.
        """
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        positions = torch.zeros(3, len(rows), longest, dtype=torch.long)
        for at, (row, start) in enumerate(zip(rows, starts, strict=True)):
            ids[at, : len(row)] = row.ids
            positions[:, at, : len(row)] = row.positions + start
        ids = ids.to(self.device)
        embeddings = self.body.get_input_embeddings()(ids)
        where = (ids == self.pads["image"]) | (ids == self.pads["video"])
        levels: list[Tensor] = []
        visuals = [visual for row in rows for visual in row.visuals]
        if visuals:
            seen = self._features(visuals)
            merged, *levels = (torch.cat(parts) for parts in zip(*seen, strict=True))
            embeddings[where] = merged.to(embeddings.dtype)
        out = self.body.language_model(
            inputs_embeds=embeddings,
            position_ids=positions.to(self.device),
            visual_pos_masks=where if levels else None,
            deepstack_visual_embeds=levels or None,
            **how,
        )
        hidden: Tensor = out.last_hidden_state
        return hidden

    def _features(self, visuals: Sequence[Visual]) -> list[tuple[Tensor, ...]]:
        """Visual tokens and DeepStack maps of each; the tower runs once over all that need it."""
        new = [v for v in dict.fromkeys(visuals) if v.features is None]
        if new:
            tower = self.body.visual
            patches = torch.cat([v.patches for v in new]).to(self.device, tower.dtype)
            grid = torch.tensor([v.grid for v in new], device=self.device)
            out = tower(patches, grid_thw=grid)
            ends = accumulate(len(v.patches) // 4 for v in new)
            cuts = list(ends)[:-1]
            parts = [x.tensor_split(cuts) for x in (out.pooler_output, *out.deepstack_features)]
            for visual, *features in zip(new, *parts, strict=True):
                visual.features = tuple(features)
        return [visual.features for visual in visuals if visual.features is not None]
