"""What the warm pass has to compute: how many tokens, how many FLOP. From shapes, not measured."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minireranker import Reranker

__all__ = ["arithmetic", "prefix_tokens", "suffix_tokens"]


def suffix_tokens(reranker: Reranker, pair_token_layers: int, documents: int) -> int:
    """Tokens of the query's segment, by what a call over so many documents has counted."""
    band = reranker.state.band
    return pair_token_layers // (documents * (band.exit_layer - band.meeting_layer))


def prefix_tokens(reranker: Reranker) -> float:
    """Tokens of a first segment after pruning, on average over the cache's entries in memory.

    Those have to be entries of the reranker's own, at least one.
    """
    from minireranker.cache import PrefixEntry

    memory = reranker.cache.memory
    entries = (memory.peek(key, PrefixEntry) for key in memory.held())
    return statistics.fmean(entry.tokens for entry in entries if entry is not None)


def arithmetic(
    reranker: Reranker, documents: int, suffix: int, prefix: float
) -> tuple[float, float]:
    """FLOP of the warm pass: matrix products, and attention. Elementwise work is not counted.

    ``suffix``, ``prefix``: tokens of the query's segment and, on average, of a document's.

    A multiply and an add are two. Per layer and row: Q, K, V, output, gate, up, down; in the first
    pair layer Q, K and V are computed once a second segment (here: once), and the last layer does
    Q, output and MLP for one row a pair. A row attends to the header, to itself and what is before
    it, and in the band's layers to the first segment: two products a key, of the heads' width.
    """
    text, band = reranker.state.model.config.text, reranker.state.band
    header = _header_tokens(reranker)
    width = text.num_attention_heads * text.head_dim
    kv = 2 * text.hidden_size * text.num_key_value_heads * text.head_dim
    query = text.hidden_size * width
    rest = query + 3 * text.hidden_size * text.intermediate_size
    rows, own = documents * suffix, suffix * (suffix + 1) / 2
    products = float(band.meeting_layer * suffix * (kv + query + rest))
    keys = band.meeting_layer * (suffix * header + own)
    for layer in range(band.meeting_layer, band.exit_layer):
        entering, last = layer == band.meeting_layer, layer == band.exit_layer - 1
        products += (suffix if entering else rows) * kv
        products += (documents if last else suffix if entering else rows) * query
        products += (documents if last else rows) * rest
        before = header + (prefix if layer in band.prefix_layers else 0)
        keys += documents * (before + suffix if last else suffix * before + own)
    return 2 * products, 4 * keys * width


def _header_tokens(reranker: Reranker) -> int:
    state = reranker.state
    return len(state.prompt.header(state.profile.template.instruction, False))
