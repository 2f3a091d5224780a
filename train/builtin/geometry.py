"""How large the built-in reranker and embedder are, and their untrained checkpoints.

The architecture, layout and code path of Qwen3-VL; the sizes are what two CPU cores can train.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minireranker.configs import Profile
from minireranker.models.synth import synthesize

LAYERS = 14
"""Of the reranker: 57 % of them are 8."""
MINI = Profile(name="mini", exit_layer=8, band=(4, 8), keep_ratio=0.5)
"""The proportions of the paper's 2B: exit at 57 % of the layers, the band from half of that."""
DENSE = Profile(name="dense", exit_layer=LAYERS, band=(0, LAYERS))
EMBEDDER_LAYERS = 5

_WIDTH = 128


def untrained(out: Path, layers: int, *, seed: int, overwrite: bool = False) -> Path:
    """A checkpoint with random weights, float32."""
    return synthesize(
        out,
        "tiny",
        seed=seed,
        dtype="float32",
        tie_word_embeddings=True,
        overwrite=overwrite,
        text=_decoder(layers),
        vision={
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_heads": 4,
            "depth": 4,
            "num_position_embeddings": 64,
        },
    )


def _decoder(layers: int) -> dict[str, Any]:
    return {
        "hidden_size": _WIDTH,
        "intermediate_size": 3 * _WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rope_theta": 1e4,
        "rope_scaling": {"mrope_section": [8, 4, 4]},
    }
