"""An embedding checkpoint, opened: all that is known of it before its weights are needed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import torch

from minireranker.configs import Limits
from minireranker.errors import ConfigurationError, InputError
from minireranker.models import Checkpoint, resolve
from minireranker.models.chat_template import read_chat_frame
from minireranker.models.loading import load_model
from minireranker.models.qwen3_vl import Qwen3VL

from .embedding_prompt import DEFAULT_INSTRUCTION, EmbeddingPrompt
from .given import check_instruction
from .placement import find_backend, find_device, find_dtype
from .progress import Progress
from .tokenizer import TextTokenizer, ids_around, require_unicode

LIMITS = Limits(max_tokens=8_192)
"""Those of the published Qwen3-VL-Embedding code: pixels as for the reranker, 8192 tokens."""


@dataclass(eq=False)
class EmbeddingModel:
    """A checkpoint, how it is to be computed, and its weights once something is embedded."""

    checkpoint: Checkpoint
    prompt: EmbeddingPrompt
    limits: Limits
    instruction: str
    device: torch.device
    dtype: torch.dtype
    backend: str
    identity: str
    """Hex SHA-256 of everything that changes a vector."""
    progress: bool | None
    _loaded: Qwen3VL | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def width(self) -> int:
        """Of a state."""
        return self.checkpoint.config.text.hidden_size

    @property
    def network(self) -> Qwen3VL:
        """The weights, read on first use. Raises CheckpointError."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Qwen3VL:
        with Progress("loading", self.checkpoint.weights.nbytes, self.progress) as bar:
            return load_model(
                self.checkpoint,
                self.checkpoint.config.text.num_hidden_layers,
                answers=None,
                dtype=self.dtype,
                device=self.device,
                step=bar.advance,
            )


def open_model(
    name: str | Path,
    *,
    device: str | torch.device,
    dtype: str | torch.dtype,
    limits: Limits | None,
    instruction: str | None,
    backend: str,
    progress: bool | None,
) -> EmbeddingModel:
    """Check every argument and read everything but the weights; see ``Embedder``."""
    limits, asked = limits or LIMITS, instruction or DEFAULT_INSTRUCTION
    if not isinstance(limits, Limits):
        raise ConfigurationError(f"limits are {type(limits).__name__}; pass minireranker.Limits")
    limits.validate()
    check_instruction(instruction)
    try:
        require_unicode(asked)
    except InputError as error:
        raise ConfigurationError(f"instruction {asked!r}: {error}") from error
    checkpoint = Checkpoint.open(resolve(str(name), "embedder"))
    place = find_device(device)
    number = find_dtype(dtype, checkpoint.config.dtype, place)
    attention = find_backend(backend, place)
    vocabulary = checkpoint.tokenizer_json()
    frame, around = read_chat_frame(checkpoint.path), ids_around(vocabulary)
    prompt = EmbeddingPrompt(TextTokenizer(vocabulary), frame, around, limits.max_tokens)
    parts = {
        "weights": checkpoint.digest(),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "pixels": f"{checkpoint.pixel_mean}{checkpoint.pixel_std}",
        "prompt": [*frame, *around, asked],
        "limits": dataclasses.asdict(limits),
        "computed": [str(number), place.type, attention],
    }
    identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return EmbeddingModel(
        checkpoint, prompt, limits, asked, place, number, attention, identity, progress
    )
