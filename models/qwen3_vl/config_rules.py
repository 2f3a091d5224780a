"""Conditions between the keys of a Qwen3-VL config: what one number demands of another.

Each comes from the modelling code of ``transformers`` (heads share keys and values, M-RoPE
interleaves three axes, the tower's rotary embedding halves a head twice, DeepStack feeds layer i
from the i-th chosen block).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .config_keys import Keys

if TYPE_CHECKING:
    from .config import ModelConfig, TextConfig


def note_conflicts(config: ModelConfig, keys: Keys) -> None:
    """Note in ``keys`` what does not go together; what rests on a key already bad is left out."""
    _relate_decoder(config.text, keys.section("text_config"))
    _relate_tower(config, keys.section("vision_config"))
    for name in ("image", "video", "vision_start", "vision_end"):
        below = config.text.vocab_size
        fits = getattr(config, f"{name}_token_id") < below
        keys.require(
            f"{name}_token_id", fits, f"below vocab_size = {below}", ("text_config.vocab_size",)
        )


def _relate_decoder(text: TextConfig, keys: Keys) -> None:
    kv_heads, half = text.num_key_value_heads, text.head_dim // 2
    keys.require(
        "num_attention_heads",
        text.num_attention_heads % kv_heads == 0,
        f"a multiple of num_key_value_heads = {kv_heads}",
        ("text_config.num_key_value_heads",),
    )
    keys.require("head_dim", text.head_dim % 2 == 0, "an even number")
    # Interleaved M-RoPE gives height the frequencies 1, 4, 7, ... and width 2, 5, 8, ...
    t, h, w = text.mrope_section
    rope = keys.section("rope_parameters" if "rope_parameters" in keys else "rope_scaling")
    rope.require(
        "mrope_section",
        t + h + w == half and 3 * h - 2 < half and 3 * w - 1 < half,
        f"three numbers that interleave to head_dim / 2 = {half}",
        ("text_config.head_dim",),
    )


def _relate_tower(config: ModelConfig, keys: Keys) -> None:
    text, vision = config.text, config.vision
    entries = vision.num_position_embeddings
    keys.require(
        "num_heads",
        vision.hidden_size % (4 * vision.num_heads) == 0,
        f"a divisor of hidden_size / 4 = {vision.hidden_size / 4:g}",
        ("vision_config.hidden_size",),
    )
    keys.require(
        "out_hidden_size",
        vision.out_hidden_size == text.hidden_size,
        f"{text.hidden_size}, the decoder's hidden_size",
        ("text_config.hidden_size",),
    )
    keys.require("num_position_embeddings", math.isqrt(entries) ** 2 == entries, "a square number")
    deep = vision.deepstack_visual_indexes
    ascending = list(deep) == sorted({index for index in deep if 0 <= index < vision.depth})
    keys.require(
        "deepstack_visual_indexes",
        ascending,
        f"ascending block numbers below depth = {vision.depth}",
        ("vision_config.depth",),
    )
