"""ColModernVBERT checkpoints with random weights, for tests and for timing without a download.

Written by transformers itself, so that they look like what it loads; their scores rank nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError
from minireranker.models.synth_tokenizer import train_tokenizer

from .colmodernvbert_files import without_bars

__all__ = ["synthesize_colmodernvbert"]

_ADDED = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<|begin_of_text|>", "<global-img>")
_BY_PROCESSOR = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")
_GRID = 6
"""Rows and columns of tiles that have a token of their own in the published tokenizer."""

_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "text": {
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "local_attention": 16,
        },
        "vision": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        "longest_edge": 256,
        "embedding_dim": 24,
    },
    "250m": {
        "text": {},
        "vision": {"image_size": 512, "patch_size": 16},
        "longest_edge": 2048,
        "embedding_dim": 128,
    },
}
"""What differs from the defaults of the config classes, which are the published sizes."""


def synthesize_colmodernvbert(
    out: Path | str, size: str = "tiny", *, seed: int = 0, query_prefix: str | None = None
) -> Path:
    """Write a checkpoint of ``size`` ("tiny", "250m") to the folder ``out``; returns it.

    The same seed gives the same weights. Raises ConfigurationError for an unknown size and for a
    folder that holds something.
    """
    out = Path(out)
    if size not in _SIZES:
        raise ConfigurationError(f"size {size!r}: allowed are {', '.join(_SIZES)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} is in use; name a new folder")
    numbers = _SIZES[size]
    tokenizer = _tokenizer()
    model = _model(numbers, tokenizer, seed)
    out.mkdir(parents=True, exist_ok=True)
    with without_bars():
        model.save_pretrained(out)
    _processor(numbers, tokenizer, model.vlm.image_seq_len, query_prefix).save_pretrained(out)
    return out


def _tokenizer() -> Any:
    """Byte-level BPE with the added tokens, ``[CLS] text [SEP]`` as ModernBERT has it."""
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    inner = train_tokenizer()
    tiles = [f"<row_{r + 1}_col_{c + 1}>" for r in range(_GRID) for c in range(_GRID)]
    names = [*_ADDED, *_BY_PROCESSOR, *tiles]
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    ends = [(name, inner.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    named = {f"{name[1:-1].lower()}_token": name for name in _ADDED[:5]}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=8192, **named)


def _model(numbers: dict[str, Any], tokenizer: Any, seed: int) -> Any:
    import torch
    from transformers import (
        ColModernVBertConfig,
        ColModernVBertForRetrieval,
        ModernBertConfig,
        ModernVBertConfig,
        SiglipVisionConfig,
    )

    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"[{name.upper()}]")
        for name in ("cls", "sep", "pad")
    }
    ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
    vlm = ModernVBertConfig(
        text_config=ModernBertConfig(vocab_size=len(tokenizer), **ids, **numbers["text"]),
        vision_config=SiglipVisionConfig(vision_use_head=False, **numbers["vision"]),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    config = ColModernVBertConfig(vlm_config=vlm, embedding_dim=numbers["embedding_dim"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ColModernVBertForRetrieval(config).eval()
        _liven(model)
    return model


def _liven(model: Any) -> None:
    """Larger matrices than transformers draws: else every token ends in nearly one vector."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(0.0, weight.shape[1] ** -0.5)


def _processor(
    numbers: dict[str, Any], tokenizer: Any, image_seq_len: int, query_prefix: str | None
) -> Any:
    from transformers import ColModernVBertProcessor
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    images = Idefics3ImageProcessorPil(
        size={"longest_edge": numbers["longest_edge"]},
        max_image_size={"longest_edge": numbers["vision"]["image_size"]},
    )
    return ColModernVBertProcessor(
        images, tokenizer, image_seq_len=image_seq_len, query_prefix=query_prefix
    )
