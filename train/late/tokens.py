"""What MetaEmbed trains: its tokens in full, and adapters on the decoder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from minireranker.engine.embedding_model import EmbeddingModel
from minireranker.errors import CheckpointError
from minireranker.models.qwen3_vl import Qwen3VL
from minireranker.retrieval.late_interaction import MetaTokens
from minireranker.retrieval.late_interaction.meta_tokens import WEIGHTS
from minireranker.train.lora import add_adapters
from minireranker.train.masters import Masters
from minireranker.train.trained import Change, adapter_changes

from .settings import MetaEmbedSettings


def first_tokens(model: EmbeddingModel, seed: int) -> MetaTokens:
    """Those beside the checkpoint; untrained ones, drawn by ``seed``, where it has none.

    Raises CheckpointError for damaged ones, or another checkpoint's.
    """
    folder = model.checkpoint.path
    if not (folder / WEIGHTS).is_file():
        return MetaTokens.random(model.width, seed)
    tokens = MetaTokens.load(folder)
    if tokens.width != model.width:
        raise CheckpointError(
            f"{folder}: its meta tokens are {tokens.width} wide, its states {model.width}; "
            f"remove {WEIGHTS} to begin with new ones"
        )
    return tokens


class TrainedTokens:
    """Tokens and adapters of a loaded model, with their masters."""

    def __init__(self, network: Qwen3VL, first: MetaTokens, settings: MetaEmbedSettings) -> None:
        """Makes the model trainable, in place. Raises MissingDependencyError."""
        self.network = network
        add_adapters(network.decoder, settings.lora, settings.seed)
        device = network.device
        # Copies: what is moved must not be what was loaded.
        self._query = nn.Parameter(first.query.to(device, copy=True))
        self._candidate = nn.Parameter(first.candidate.to(device, copy=True))
        adapters = {
            f"decoder.{name}": parameter
            for name, parameter in network.decoder.named_parameters()
            if parameter.requires_grad
        }
        own = {"tokens.query": self._query, "tokens.candidate": self._candidate}
        self.masters = Masters(own | adapters)

    @property
    def count(self) -> int:
        """Numbers that are trained."""
        return sum(master.numel() for master in self.masters.tensors.values())

    def appended(self, *, is_query: bool) -> Tensor:
        """What follows an input, [16 or 80, hidden]: a query's 64 others would change nothing."""
        return self._query if is_query else torch.cat((self._query, self._candidate))

    def training(self, is_on: bool) -> None:
        """Dropout on or off."""
        self.network.decoder.train(is_on)

    def tokens(self) -> MetaTokens:
        """As they are now, float32 on the CPU."""
        parts = (self._query, self._candidate)
        return MetaTokens(*(part.detach().to("cpu", torch.float32) for part in parts))

    def changes(self) -> dict[str, Change]:
        """How each tensor of the source checkpoint changes, by its canonical name."""
        return adapter_changes(self.network.decoder)

    def write(self, folder: Path) -> None:
        """The tokens' files."""
        self.tokens().save(folder)
