"""The vision tower: pixels of many images and videos to visual tokens, packed without padding.

Patches of all frames lie behind one another; every product runs over all of them, attention runs
frame by frame. Module and parameter names are those of the published checkpoints (``visual.*``).
Source: transformers' modeling_qwen3_vl (Qwen3VLVisionModel).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minireranker.kernels.sending import sent

from .config import VisionConfig
from .rope import rotate_vision, vision_angles

ROW_TILE = 64
"""Patches are padded to a multiple of this, so that products see at least 16 rows in steps of 16:
a row's result then does not depend on how many rows there are (seen for MKL and oneDNN)."""

PIECE = 8_192
"""Patches a product or an elementwise step works on at a time, a multiple of ``ROW_TILE``: what a
very large frame takes beside its Q, K, V and states is that of so many."""

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class VisionFeatures:
    """What the decoder takes in: merged tokens and one map a DeepStack level, [tokens, hidden]."""

    merged: Tensor
    deepstack: tuple[Tensor, ...]


class PatchEmbed(nn.Module):
    """A patch's pixels to a vector: the published Conv3d, whose kernel is the whole patch."""

    def __init__(self, config: VisionConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        kernel = (config.temporal_patch_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(config.in_channels, config.hidden_size, kernel, stride=kernel)

    def forward(self, patches: Tensor) -> Tensor:
        """[patches, channels * temporal * patch * patch] -> [patches, hidden]."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class VisionAttention(nn.Module):
    """Full attention within each frame, in three steps: only the second sees more than a row."""

    def __init__(self, config: VisionConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries and keys, rotated, and values: [patches, 3, heads, head_dim]."""
        heads: Tensor = self.qkv(x).view(x.shape[0], 3, self.heads, -1)
        turned = rotate_vision(heads[:, :2], cos[:, None], sin[:, None])
        return torch.cat((turned, heads[:, 2:]), dim=1)

    def attend(self, heads: Tensor, frames: Sequence[int]) -> Tensor:
        """What each patch sees of its frame, [patches, hidden].

        ``frames``: patches of each frame, in order; rows after them are padding.
        """
        parts = heads.unbind(1)
        out = torch.zeros_like(parts[0])
        start = 0
        for count in frames:
            part = slice(start, start + count)
            queries, keys, values = (t[part].transpose(0, 1)[None] for t in parts)
            attended = F.scaled_dot_product_attention(queries, keys, values)
            out[part] = attended[0].transpose(0, 1)
            start += count
        return out.flatten(1)


class VisionMLP(nn.Module):
    """Two layers with tanh-approximated GELU."""

    def __init__(self, config: VisionConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.linear_fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.linear_fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[patches, hidden] -> [patches, hidden]."""
        out: Tensor = self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh"))
        return out


class VisionBlock(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: VisionConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.attn = VisionAttention(config)
        self.mlp = VisionMLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, frames: Sequence[int]) -> Tensor:
        """[patches, hidden] -> [patches, hidden]."""
        heads = _in_pieces(self._project, x, cos, sin)
        return _in_pieces(self._finish, x, self.attn.attend(heads, frames))

    def _project(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return self.attn.project(self.norm1(x), cos, sin)

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.attn.proj(attended)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchMerger(nn.Module):
    """2 x 2 patches to one visual token of the decoder's width.

    The final merger norms patches, the DeepStack mergers norm what they have concatenated.
    """

    def __init__(self, config: VisionConfig, *, norm_after: bool) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.width = config.hidden_size * config.spatial_merge_size**2
        self.norm_after = norm_after
        self.norm = nn.LayerNorm(self.width if norm_after else config.hidden_size, eps=1e-6)
        self.linear_fc1 = nn.Linear(self.width, self.width)
        self.linear_fc2 = nn.Linear(self.width, config.out_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[patches, hidden] -> [patches / 4, out_hidden]."""
        x = self.norm(x.view(-1, self.width)) if self.norm_after else self.norm(x)
        out: Tensor = self.linear_fc2(F.gelu(self.linear_fc1(x.view(-1, self.width))))
        return out


class VisionTower(nn.Module):
    """Patches to merged tokens and DeepStack maps."""

    def __init__(self, config: VisionConfig) -> None:
        """Build with the shapes of ``config``; weights come from a checkpoint."""
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        table = torch.empty(config.num_position_embeddings, config.hidden_size)
        self.pos_embed = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))
        self.merger = PatchMerger(config, norm_after=False)
        self.deepstack_merger_list = nn.ModuleList(
            PatchMerger(config, norm_after=True) for _ in config.deepstack_visual_indexes
        )

    def forward(self, patches: Tensor, grids: Sequence[Grid]) -> VisionFeatures:
        """Encode packed ``patches`` [sum t*h*w, patch values] of visuals with those ``grids``.

        Patches are in 2 x 2 block order (``Visual.patches``). A visual's tokens do not depend on
        what it is packed with.
        """
        count = patches.shape[0]
        tokens = count // self.config.spatial_merge_size**2
        places = _places(grids, patches.device)
        x = self.patch_embed(_padded(patches, ROW_TILE))
        for start in range(0, count, PIECE):
            part = slice(start, min(start + PIECE, count))
            x[part] += self._position_embedding(*(place[part] for place in places)).to(x.dtype)
        head_dim = self.config.hidden_size // self.config.num_heads
        angles = _padded(vision_angles(*places[:2], head_dim), ROW_TILE)
        angles = angles.to(torch.promote_types(x.dtype, torch.float32))[:, None]
        cos, sin = angles.cos(), angles.sin()
        frames = [h * w for t, h, w in grids for _ in range(t)]
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x, cos, sin, frames)
            if index in self.config.deepstack_visual_indexes:
                level = self.config.deepstack_visual_indexes.index(index)
                maps[level] = _in_pieces(self.deepstack_merger_list[level], x)[:tokens]
        deepstack = tuple(maps[level] for level in range(len(maps)))
        return VisionFeatures(_in_pieces(self.merger, x)[:tokens], deepstack)

    def _position_embedding(
        self, rows: Tensor, columns: Tensor, heights: Tensor, widths: Tensor
    ) -> Tensor:
        """The learned square grid, resampled bilinearly so that corners meet corners."""
        side = round(self.config.num_position_embeddings**0.5)
        y0, y1, fy = _taps(rows, heights, side)
        x0, x1, fx = _taps(columns, widths, side)
        table: Tensor = self.pos_embed.weight
        out = table[y0 * side + x0] * ((1 - fy) * (1 - fx))[:, None]
        out = out + table[y0 * side + x1] * ((1 - fy) * fx)[:, None]
        out = out + table[y1 * side + x0] * (fy * (1 - fx))[:, None]
        return out + table[y1 * side + x1] * (fy * fx)[:, None]


def _taps(index: Tensor, size: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours in the learned grid, and how far the place is past the first."""
    place = index.to(torch.float32) * (side - 1) / (size - 1).clamp(min=1)
    low = place.floor()
    first = low.to(torch.int64)
    return first, (first + 1).clamp(max=side - 1), place - low


def _places(grids: Sequence[Grid], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row, column, grid height and width of every patch, in 2 x 2 block order."""
    parts = []
    for frames, height, width in grids:
        place = torch.arange(height * width).view(height // 2, 2, width // 2, 2)
        place = place.transpose(1, 2).flatten().repeat(frames)
        sizes = torch.tensor([[height], [width]]).expand(2, len(place))
        parts.append(torch.cat((torch.stack((place // width, place % width)), sizes)))
    rows, columns, heights, widths = sent(torch.cat(parts, dim=1), device)
    return rows, columns, heights, widths


def _padded(x: Tensor, multiple: int) -> Tensor:
    """Zero rows appended up to a multiple."""
    return F.pad(x, (0, 0, 0, -x.shape[0] % multiple))


def _in_pieces(run: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """``run`` over at most ``PIECE`` rows at a time, where no row sees another."""
    if rows[0].shape[0] <= PIECE:
        return run(*rows)
    count = rows[0].shape[0]
    parts = [slice(start, start + PIECE) for start in range(0, count, PIECE)]
    return torch.cat([run(*(tensor[part] for tensor in rows)) for part in parts])
