"""The decoder's parts against transformers': rotation, norms, layers, DeepStack, score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRMSNorm,
    Qwen3VLTextRotaryEmbedding,
    apply_rotary_pos_emb,
)

from minireranker import Reranker
from minireranker.bench.oracle import FullSequenceModel
from minireranker.kernels.band_attention import band_attention
from minireranker.models.qwen3_vl import Decoder, NormRope, Projected, TextConfig, pad_rows
from minireranker.models.qwen3_vl.rope import mrope_angles

TOKENS = 37


def text_config(head_dim: int, section: tuple[int, int, int], theta: float) -> TextConfig:
    return TextConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        rms_norm_eps=1e-6,
        rope_theta=theta,
        mrope_section=section,
        attention_bias=False,
        hidden_act="silu",
    )


CONFIGS = [
    text_config(16, (4, 2, 2), 5e6),
    text_config(128, (24, 20, 20), 5e6),
    text_config(48, (10, 8, 6), 1e4),
]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def positions_of_text_and_images() -> Tensor:
    """Text, an image, text, a far video frame: int64 [3, tokens]."""
    text = torch.arange(9).expand(3, -1)
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(*[torch.arange(4)] * 2, indexing="ij")
    )
    image = torch.stack([torch.zeros_like(rows), rows, columns]) + 9
    return torch.cat([text, image, text + 13, image[:, :3] + 9_000], dim=1)


def published_rotation(config: TextConfig, positions: Tensor, like: Tensor) -> tuple[Any, Any]:
    """Cosines and sines [1, tokens, head_dim] as transformers makes them."""
    theirs = Qwen3VLTextConfig(
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        head_dim=config.head_dim,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "mrope_section": list(config.mrope_section),
            "mrope_interleaved": True,
        },
    )
    cos, sin = Qwen3VLTextRotaryEmbedding(theirs)(like, positions[:, None])
    return cos, sin


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"head_dim {config.head_dim}")
def test_angles_are_those_of_transformers(config: TextConfig) -> None:
    positions = positions_of_text_and_images()
    angles = mrope_angles(positions, config)
    assert angles.shape == (positions.shape[1], config.head_dim // 2)
    assert angles.dtype == torch.float32
    cos, sin = published_rotation(config, positions, torch.zeros(1))
    twice = torch.cat((angles, angles), dim=-1)
    torch.testing.assert_close(twice.cos(), cos[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(twice.sin(), sin[0], rtol=0, atol=1e-6)


def exact_norm_rope(heads: Tensor, weight: Tensor, positions: Tensor, config: TextConfig) -> Tensor:
    """The norm and then the rotation, by their definitions, in float64."""
    wide = heads.double()
    normed = wide / (wide.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()
    normed = normed * weight.double()
    angles = mrope_angles(positions, config).double()[:, None]
    low, high = normed.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"head_dim {config.head_dim}")
def test_norm_rope_is_the_norm_and_then_the_rotation(
    config: TextConfig, dtype: torch.dtype
) -> None:
    """Error against float64 at most twice that of transformers' two steps, plus one rounding."""
    positions = positions_of_text_and_images()
    heads = torch.randn(positions.shape[1], 6, config.head_dim).mul_(3).to(dtype)
    heads[0] *= 1e-4  # where the norm's epsilon counts
    weight = torch.randn(config.head_dim).to(dtype)
    norm = Qwen3VLTextRMSNorm(config.head_dim, eps=config.rms_norm_eps).to(dtype)
    norm.weight.copy_(weight)
    normed = norm(heads[None]).transpose(1, 2)
    theirs = apply_rotary_pos_emb(normed, normed, *published_rotation(config, positions, normed))[0]
    before = heads.clone()
    ours = NormRope.of(positions, config, dtype)(heads, weight)
    assert torch.equal(heads, before), "the heads given were changed"
    assert ours.dtype == dtype
    exact = exact_norm_rope(heads, weight, positions, config)

    def error(found: Tensor) -> float:
        return float((found.double() - exact).square().mean().sqrt())

    rounding = torch.finfo(dtype).eps * float(exact.square().mean().sqrt())
    assert error(ours) <= 2 * error(theirs[0].transpose(0, 1)) + rounding


def test_a_selection_of_rows_rotates_like_the_whole() -> None:
    positions, rows = positions_of_text_and_images(), torch.tensor([5, 0, 30, 5])
    rope = NormRope.of(positions, CONFIGS[0], torch.float32)
    heads, weight = torch.randn(positions.shape[1], 2, 16), torch.randn(16)
    assert torch.equal(rope.rows(rows)(heads[rows], weight), rope(heads, weight)[rows])


def causal(layer: int, heads: Projected) -> Tensor:
    """Attention of one sequence; the layer does not matter."""
    return band_attention(*heads, cu_seqlens_q=[0, TOKENS], cu_seqlens_k=[0, TOKENS])


def sequence(decoder: Decoder) -> tuple[Tensor, Tensor]:
    """Random states [48, hidden] (padded to the row tile) and positions of a sequence."""
    x = pad_rows(torch.randn(TOKENS, decoder.config.hidden_size))
    positions = positions_of_text_and_images()
    assert positions.shape[1] == TOKENS
    return x, torch.nn.functional.pad(positions, (0, len(x) - TOKENS))


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


def test_every_layer_is_that_of_transformers(dense: Reranker, oracle: FullSequenceModel) -> None:
    decoder, text = dense.state.model.decoder, oracle.model.model.language_model
    x, positions = sequence(decoder)
    rotation = text.rotary_emb(x[None], positions[:, None, :TOKENS])
    mask = torch.full((TOKENS, TOKENS), float("-inf")).triu_(1)[None, None]
    for index, layer in enumerate(text.layers):
        out = layer(x[None, :TOKENS], position_embeddings=rotation, attention_mask=mask)
        expected = (out[0] if isinstance(out, tuple) else out).view(TOKENS, -1)
        before = x.clone()
        found = decoder.run(x, decoder.rope(positions), range(index, index + 1), causal)
        assert torch.equal(x, before), "the input was changed"
        assert close(found[:TOKENS], expected), f"layer {index}"
        x = found
    norm = text.norm(x[None, :TOKENS])[0]
    assert close(decoder.norm(x)[:TOKENS], norm)


def test_injections_are_added_after_their_layers(
    dense: Reranker, oracle: FullSequenceModel
) -> None:
    """DeepStack, against the whole text model of transformers with the same maps."""
    decoder, text = dense.state.model.decoder, oracle.model.model.language_model
    x, positions = sequence(decoder)
    visual = torch.zeros(TOKENS, dtype=torch.bool)
    visual[9:25] = True
    maps = torch.randn(3, 16, decoder.config.hidden_size)
    injections = [torch.zeros_like(x) for _ in maps]
    for injected, level in zip(injections, maps, strict=True):
        injected[9:25] = level
    expected = text(
        inputs_embeds=x[None, :TOKENS],
        position_ids=positions[:, None, :TOKENS],
        visual_pos_masks=visual[None],
        deepstack_visual_embeds=list(maps),
        use_cache=False,
    ).last_hidden_state[0]
    rope, layers = decoder.rope(positions), range(len(decoder.layers))
    found = decoder.norm(decoder.run(x, rope, layers, causal, injections))[:TOKENS]
    assert close(found, expected)
    some = decoder.norm(decoder.run(x, rope, layers, causal, [None, *injections[1:]]))[:TOKENS]
    assert not close(some, expected)


def test_halves_of_a_layer_agree(dense: Reranker) -> None:
    """K and V alone, and Q of a few rows, have the bits they have in the whole projection."""
    decoder = dense.state.model.decoder
    x, positions = sequence(decoder)
    rope, layer = decoder.rope(positions), decoder.layer(3)
    whole = layer.project(x, rope)
    config = decoder.config
    assert whole.q.shape == (48, config.num_attention_heads, config.head_dim)
    assert whole.k.shape == whole.v.shape == (48, config.num_key_value_heads, config.head_dim)
    keys, values = layer.keys_values(x, rope)
    rows = torch.tensor([36, 3, 8])
    some = layer.project_some(x, rope, rows)
    assert some.q.shape[0] == 16, "queries are padded to the row tile"
    assert torch.equal(some.q[:3], whole.q[rows])
    for found in (some.k, keys):
        assert torch.equal(found, whole.k)
    for found in (some.v, values):
        assert torch.equal(found, whole.v)


@pytest.mark.parametrize(("rows", "padded"), [(0, 0), (1, 16), (16, 16), (17, 32), (48, 48)])
def test_rows_are_padded_with_zeros_to_the_tile(rows: int, padded: int) -> None:
    for shape in ((rows, 3), (rows, 2, 5)):
        out = pad_rows(torch.ones(shape))
        assert out.shape == (padded, *shape[1:])
        assert out[:rows].eq(1).all()
        assert out[rows:].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_score_is_the_difference_of_the_two_logits(
    dense: Reranker, oracle: FullSequenceModel, dtype: torch.dtype
) -> None:
    """Final norm and head in float32, whatever the states are in."""
    tokenizer = dense.state.prompt.tokenizer
    hidden = torch.randn(5, dense.state.model.config.text.hidden_size).to(dtype)
    normed = oracle.model.model.language_model.norm(hidden.float())
    logits = oracle.model.lm_head(normed)
    expected = logits[:, tokenizer.yes] - logits[:, tokenizer.no]
    scores = dense.state.model.score(hidden)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)
