"""Qwen3-VL of our own: vision tower and the first layers of the decoder, packed, in plain torch."""

from .config import ModelConfig, TextConfig, VisionConfig
from .decoder import Decoder, Projected, pad_rows
from .model import Qwen3VL
from .rope import NormRope
from .vision import VisionFeatures, VisionTower

__all__ = [
    "Decoder",
    "ModelConfig",
    "NormRope",
    "Projected",
    "Qwen3VL",
    "TextConfig",
    "VisionConfig",
    "VisionFeatures",
    "VisionTower",
    "pad_rows",
]
