"""One packed pass of an embedding model: prompts in, vectors and importances out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.models.embedder import final_norm, read_states

from .draft import Segment
from .embeddings import Embedding
from .packing import Packed, Packer


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of a pass besides the pooled vectors."""

    dim: int
    """Of the pooled vectors: their first numbers (Matryoshka)."""
    states: bool = False
    importances: bool = False
    appended: Tensor | None = None
    """[m, hidden] input embeddings behind every prompt, or None."""

    @property
    def extra(self) -> int:
        """Tokens appended to each prompt."""
        return 0 if self.appended is None else len(self.appended)


def embed_segments(
    packer: Packer, segments: Sequence[Segment], wanted: Wanted, backend: str
) -> list[Embedding]:
    """One Embedding a segment, all read in one packed pass."""
    decoder = packer.model.decoder
    packed = _packed(packer, segments, wanted)
    bounds = list(pairwise(packed.cu_seqlens))
    prompts = [slice(start, stop - wanted.extra) for start, stop in bounds]
    states, sums = read_states(
        decoder,
        packed.x,
        packed.rope,
        packed.cu_seqlens,
        packed.injections,
        watched=prompts if wanted.importances else (),
        backend=backend,
    )
    packer.meter.count(embedder_token_layers=packed.cu_seqlens[-1] * len(decoder.layers))
    last = torch.tensor([part.stop - 1 for part in prompts], device=states.device)
    pooled = _unit(final_norm(decoder, states[last])[:, : wanted.dim]).cpu()
    out = []
    for at, segment in enumerate(segments):
        tokens = (
            _outside(final_norm(decoder, states[slice(*bounds[at])])) if wanted.states else None
        )
        out.append(
            Embedding(
                pooled[at].to(torch.float32).numpy(),
                segment.input_ids,
                tokens,
                _on_grids(segment, sums[at]) if wanted.importances else (),
            )
        )
    return out


def _outside(tokens: Tensor) -> Tensor:
    """On the CPU in float32, and no inference tensor: an adapter may be trained on it."""
    with torch.inference_mode(False):
        return tokens.to("cpu", torch.float32).clone()


def _packed(packer: Packer, segments: Sequence[Segment], wanted: Wanted) -> Packed:
    """The segments with what is appended to each in place."""
    if wanted.appended is None:
        return packer.pack(segments, [0] * len(segments))
    packed = packer.pack([_lengthened(s, wanted.extra) for s in segments], [0] * len(segments))
    for stop in packed.cu_seqlens[1:]:
        packed.x[stop - wanted.extra : stop] = wanted.appended.to(packed.x)
    return packed


def _lengthened(segment: Segment, count: int) -> Segment:
    """With ``count`` tokens more, whose embeddings are put in later."""
    line = np.broadcast_to(np.arange(segment.span, segment.span + count), (3, count))
    return dataclasses.replace(
        segment,
        input_ids=np.concatenate((segment.input_ids, np.zeros(count, np.int64))),
        positions=np.concatenate((segment.positions, line), axis=1),
        span=segment.span + count,
    )


def _on_grids(segment: Segment, sums: Tensor) -> tuple[NDArray[np.float32], ...]:
    """Importances of the visual tokens, one array [frames, rows, columns] a visual."""
    worth = sums.cpu().numpy()[segment.visual_rows]
    out, at = [], 0
    for visual in segment.visuals:
        out.append(worth[at : at + visual.tokens].reshape(visual.token_grid))
        at += visual.tokens
    return tuple(out)


def _unit(rows: Tensor) -> Tensor:
    """Rows over their length; a row of zeros stays one."""
    return torch.nn.functional.normalize(rows, dim=-1)
