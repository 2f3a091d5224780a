"""Tensor names and shapes of the published Qwen3-VL checkpoints, without any weights.

Two key prefixes are in circulation: ``model.language_model.`` / ``model.visual.`` (published) and
the older ``language_model.model.`` / ``visual.``; text-only exports have the decoder under
``model.``. Inside this package a tensor goes by its canonical name, whatever it is called on disk:
``decoder.layers.0.input_layernorm.weight``, ``vision.pos_embed.weight``, ``lm_head.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .qwen3_vl.config import ModelConfig, TextConfig, VisionConfig

HEAD = "lm_head.weight"
EMBEDDING = "decoder.embed_tokens.weight"

PUBLISHED_PREFIXES = {"decoder.": "model.language_model.", "vision.": "model.visual."}
"""From the first part of a canonical name to what the published files write."""

# The first prefix that matches counts, so a longer one stands before those it starts with.
_PREFIXES = (
    ("model.language_model.", "decoder."),
    ("model.visual.", "vision."),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "decoder."),
    ("language_model.", "decoder."),
    ("visual.", "vision."),
    ("lm_head.", "lm_head."),
    ("model.", "decoder."),
)

Shapes = dict[str, tuple[int, ...]]
"""Canonical tensor names with their shapes, in file order."""


def split_prefix(name: str) -> tuple[str, str]:
    """The prefix a tensor has on disk ("" if none is known) and its canonical name."""
    for prefix, canonical in _PREFIXES:
        if name.startswith(prefix):
            return prefix, canonical + name.removeprefix(prefix)
    return "", name


def published_name(canonical: str) -> str:
    """What the published checkpoints call a tensor."""
    for part, prefix in PUBLISHED_PREFIXES.items():
        if canonical.startswith(part):
            return prefix + canonical.removeprefix(part)
    return canonical


def layer_of(name: str) -> int | None:
    """The decoder layer a name belongs to (canonical, or without ``decoder.``), None if none."""
    found = re.match(r"(?:decoder\.)?layers\.(\d+)\.", name)
    return int(found[1]) if found else None


def count_layers(names: Iterable[str]) -> int:
    """Decoder layers that the names reach to."""
    return 1 + max((at for at in map(layer_of, names) if at is not None), default=-1)


def is_beyond(name: str, layers: int) -> bool:
    """Whether a name belongs to a decoder layer at or beyond the first ``layers``."""
    at = layer_of(name)
    return at is not None and at >= layers


def expected_shapes(config: ModelConfig) -> Shapes:
    """Every tensor a checkpoint of that config has, by canonical name.

    A tied head is not listed: it is the embedding table.
    """
    shapes = {f"decoder.{name}": shape for name, shape in _decoder(config.text)}
    shapes |= {f"vision.{name}": shape for name, shape in _vision(config.vision)}
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.text.vocab_size, config.text.hidden_size)
    return shapes


@dataclass(frozen=True)
class Differences:
    """What two sets of names and shapes do not agree in. Prints up to ten of each, and counts."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]
    """``name [found] instead of [wanted]``."""

    @property
    def any(self) -> bool:
        """Whether they differ at all."""
        return bool(self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        """For a message."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected}
        kinds["of another shape"] = self.misshaped
        return "; ".join(f"{len(n)} {kind}: {first_ten(n)}" for kind, n in kinds.items() if n)


def compare_names(
    wanted: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, tuple[int, ...]],
    ignore: Callable[[str], bool] = lambda name: False,
) -> Differences:
    """What is stored against what is wanted; names that ``ignore`` takes are never unexpected."""
    return Differences(
        missing=tuple(name for name in wanted if name not in stored),
        unexpected=tuple(name for name in stored if name not in wanted and not ignore(name)),
        misshaped=tuple(
            f"{name} {list(stored[name])} instead of {list(shape)}"
            for name, shape in wanted.items()
            if name in stored and stored[name] != shape
        ),
    )


def first_ten(names: Sequence[str]) -> str:
    """The first ten names for a message, and a sign that there are more."""
    more = ", ..." if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


_Named = Iterator[tuple[str, tuple[int, ...]]]


def _decoder(text: TextConfig) -> _Named:
    yield "embed_tokens.weight", (text.vocab_size, text.hidden_size)
    for layer in range(text.num_hidden_layers):
        for name, shape in _decoder_layer(text):
            yield f"layers.{layer}.{name}.weight", shape
    yield "norm.weight", (text.hidden_size,)


def _decoder_layer(text: TextConfig) -> _Named:
    hidden, mlp = text.hidden_size, text.intermediate_size
    query = text.num_attention_heads * text.head_dim
    key = text.num_key_value_heads * text.head_dim
    yield "input_layernorm", (hidden,)
    yield "self_attn.q_proj", (query, hidden)
    yield "self_attn.k_proj", (key, hidden)
    yield "self_attn.v_proj", (key, hidden)
    yield "self_attn.o_proj", (hidden, query)
    yield "self_attn.q_norm", (text.head_dim,)
    yield "self_attn.k_norm", (text.head_dim,)
    yield "post_attention_layernorm", (hidden,)
    yield "mlp.gate_proj", (mlp, hidden)
    yield "mlp.up_proj", (mlp, hidden)
    yield "mlp.down_proj", (hidden, mlp)


def _vision(vision: VisionConfig) -> _Named:
    hidden, patch = vision.hidden_size, vision.patch_size
    yield "patch_embed.proj.bias", (hidden,)
    kernel = (vision.temporal_patch_size, patch, patch)
    yield "patch_embed.proj.weight", (hidden, vision.in_channels, *kernel)
    yield "pos_embed.weight", (vision.num_position_embeddings, hidden)
    for block in range(vision.depth):
        yield from _under(f"blocks.{block}.", _vision_block(vision))
    merged = hidden * vision.spatial_merge_size**2
    yield from _under("merger.", _merger(hidden, merged, vision.out_hidden_size))
    # DeepStack mergers normalise after the patches of a token are joined, the last one before.
    for at in range(len(vision.deepstack_visual_indexes)):
        merger = _merger(merged, merged, vision.out_hidden_size)
        yield from _under(f"deepstack_merger_list.{at}.", merger)


def _vision_block(vision: VisionConfig) -> _Named:
    hidden, mlp = vision.hidden_size, vision.intermediate_size
    for name in ("norm1", "norm2"):
        yield from _affine(name, (hidden,))
    yield from _affine("attn.qkv", (3 * hidden, hidden))
    yield from _affine("attn.proj", (hidden, hidden))
    yield from _affine("mlp.linear_fc1", (mlp, hidden))
    yield from _affine("mlp.linear_fc2", (hidden, mlp))


def _merger(normed: int, merged: int, out: int) -> _Named:
    yield from _affine("norm", (normed,))
    yield from _affine("linear_fc1", (merged, merged))
    yield from _affine("linear_fc2", (out, merged))


def _affine(name: str, shape: tuple[int, ...]) -> _Named:
    yield f"{name}.bias", shape[:1]
    yield f"{name}.weight", shape


def _under(prefix: str, named: _Named) -> _Named:
    return ((prefix + name, shape) for name, shape in named)
