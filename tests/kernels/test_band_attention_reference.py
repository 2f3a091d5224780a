"""What band attention is: one softmax over an explicit mask, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import (
    Extent,
    band_attention,
    choose_backend,
    reads_quantised,
    requirement,
)

BACKENDS = ("reference", "sdpa", "packed")
"""Those that run on a CPU; the others have files of their own."""


def everything(case: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All K and V there are, [tokens, kv_heads, head_dim], and who sees what, [queries, tokens].

    Columns: the header, every row's prefix, every row's own tokens.
    """
    rows = len(case.prefixes)
    none = Extent(case.k[:0], case.v[:0])
    extents = [extent or none for extent in (case.header, *case.prefixes)]
    extents.append(Extent(case.k[: case.cu_k[-1]], case.v[: case.cu_k[-1]]))
    mask = torch.zeros(case.cu_q[-1], sum(len(extent.k) for extent in extents), dtype=torch.bool)
    mask[:, : len(extents[0].k)] = True
    column = len(extents[0].k)
    for row in range(rows):
        mask[case.cu_q[row] : case.cu_q[row + 1], column : column + len(extents[row + 1].k)] = True
        column += len(extents[row + 1].k)
    for row in range(rows):
        for query in range(case.cu_q[row], case.cu_q[row + 1]):
            left = case.cu_q[row + 1] - 1 - query
            mask[query, column + case.cu_k[row] : column + case.cu_k[row + 1] - left] = True
    keys, values = (torch.cat([extent[at] for extent in extents]) for at in (0, 1))
    return keys, values, mask


def one_by_one(case: Any) -> np.ndarray[Any, Any]:
    """A softmax for each (query token, head), in float64."""
    keys, values, mask = (part.numpy() for part in everything(case))
    queries = case.q.double().numpy()
    group = case.q.shape[1] // case.k.shape[1]
    out = np.zeros(queries.shape)
    for token, seen in enumerate(mask):
        for head in range(queries.shape[1]):
            scores = keys[seen, head // group].astype(np.float64) @ queries[token, head]
            weights = np.exp((scores - scores.max()) / np.sqrt(queries.shape[2]))
            out[token, head] = weights @ values[seen, head // group] / weights.sum()
    return out


def log_sums(case: Any) -> np.ndarray[Any, Any]:
    """The log of the sum of exponentials for each (query token, head), in float64."""
    keys, _, mask = (part.numpy() for part in everything(case))
    group = case.q.shape[1] // case.k.shape[1]
    out = np.zeros((case.cu_q[-1], case.q.shape[1]))
    for token, seen in enumerate(mask):
        for head in range(case.q.shape[1]):
            scores = keys[seen, head // group] @ case.q[token, head].numpy()
            out[token, head] = np.log(np.exp(scores / np.sqrt(case.q.shape[2])).sum())
    return out


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_reference_is_one_softmax_over_what_a_query_sees(
    shapes: Any, case_of: Callable[..., Any], data: st.DataObject
) -> None:
    case = case_of(data.draw(shapes), dtype=torch.float64)
    out = case.attend("reference")
    np.testing.assert_allclose(out.numpy(), one_by_one(case), rtol=0, atol=1e-13)
    keys, values, mask = everything(case)
    _, lse = case.attend_lse("reference")
    np.testing.assert_allclose(lse[: case.cu_q[-1]].numpy(), log_sums(case), rtol=1e-6, atol=1e-6)
    fused = F.scaled_dot_product_attention(
        case.q[None, : case.cu_q[-1]].transpose(1, 2),
        keys[None].transpose(1, 2),
        values[None].transpose(1, 2),
        attn_mask=mask,
        enable_gqa=True,
    )[0].transpose(0, 1)
    torch.testing.assert_close(out[: case.cu_q[-1]], fused, rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padding_rows_are_zero_and_the_dtype_stays(
    shape_of: Any, case_of: Callable[..., Any], backend: str, dtype: torch.dtype
) -> None:
    case = case_of(shape_of([(3, 3, None), (1, 5, 2)], 4, 2, 1, 8, padding=7), dtype=dtype)
    out = case.attend(backend)
    assert out.dtype == dtype
    assert out.shape == case.q.shape
    assert torch.equal(out[4:], torch.zeros(7, 2, 8, dtype=dtype))
    assert out[:4].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_rows_and_no_prefixes(shape_of: Any, case_of: Callable[..., Any], backend: str) -> None:
    case = case_of(shape_of([(2, 4, None), (3, 3, None)], None, 2, 1, 8))
    lengths = {"cu_seqlens_q": case.cu_q, "cu_seqlens_k": case.cu_k, "backend": backend}
    unnamed = band_attention(case.q, case.k, case.v, **lengths)
    assert torch.equal(unnamed, case.attend(backend))
    nothing = band_attention(
        case.q, case.k, case.v, cu_seqlens_q=[0], cu_seqlens_k=[0], backend=backend
    )
    assert torch.equal(nothing, torch.zeros_like(case.q))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_prefix_is_no_prefix(
    shape_of: Any, case_of: Callable[..., Any], backend: str
) -> None:
    rows = [(3, 3, 0), (2, 4, 6), (1, 1, 0)]
    case = case_of(shape_of(rows, None, 4, 2, 8))
    absent = [extent if extent is not None and len(extent.k) else None for extent in case.prefixes]
    assert absent.count(None) == 2
    bare = type(case)(case.q, case.k, case.v, case.cu_q, case.cu_k, None, absent)
    assert torch.equal(case.attend(backend), bare.attend(backend))


def test_auto_is_the_backend_of_the_device(shape_of: Any, case_of: Callable[..., Any]) -> None:
    assert choose_backend(torch.device("cpu")) == "packed"
    if not torch.cuda.is_available():
        assert choose_backend(torch.device("cuda", 0)) == "sdpa"
    case = case_of(shape_of([(3, 5, 4)], 2, 4, 2, 8))
    assert torch.equal(case.attend("auto"), case.attend("packed"))


def test_an_unknown_backend_is_named_with_those_there_are(
    shape_of: Any, case_of: Callable[..., Any]
) -> None:
    case = case_of(shape_of([(1, 1, None)], None, 1, 1, 8))
    with pytest.raises(ConfigurationError, match=r"'fused'.*reference, sdpa, .*, cuda or 'auto'"):
        case.attend("fused")


@pytest.mark.parametrize("backend", ["flash", "xformers"])
def test_what_needs_a_gpu_says_so(shape_of: Any, case_of: Callable[..., Any], backend: str) -> None:
    reason = requirement(backend, torch.device("cpu"))
    assert reason is not None
    assert reason.endswith("runs on CUDA devices, not on cpu; take backend='auto'")
    case = case_of(shape_of([(1, 1, None)], None, 1, 1, 8))
    with pytest.raises(ConfigurationError, match=re.escape(reason)):
        case.attend(backend)
    if not torch.cuda.is_available():
        assert "needs a GPU" in str(requirement(backend, torch.device("cuda", 0)))
    with pytest.raises(ConfigurationError, match="no backend 'fused'"):
        requirement("fused", torch.device("cpu"))


def test_who_reads_quantised_prefixes_as_they_are() -> None:
    named = ("reference", "sdpa", "packed", "flash", "xformers", "triton", "cuda")
    found = [backend for backend in named if reads_quantised(backend)]
    assert found == ["reference", "triton", "cuda"]
    for wrong in ("fused", "auto"):
        with pytest.raises(ConfigurationError, match=f"no backend '{wrong}'"):
            reads_quantised(wrong)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_runs_on_a_cpu_asks_for_nothing(backend: str) -> None:
    assert requirement(backend, torch.device("cpu")) is None


K = torch.zeros(6, 2, 8)
K8, SCALE = K.to(torch.int8), torch.ones(6, 2, 1)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"q": torch.zeros(6, 32)}, r"q \(6, 32\), k \(6, 2, 8\)"),
    ({"k": torch.zeros(6, 2, 8, 1)}, r"k \(6, 2, 8, 1\)"),
    ({"v": torch.zeros(5, 2, 8)}, r"k \(6, 2, 8\), v \(5, 2, 8\)"),
    ({"q": torch.zeros(6, 4, 16)}, r"q \(6, 4, 16\), k \(6, 2, 8\)"),
    ({"q": torch.zeros(6, 3, 8)}, "3 query heads .* 2 KV heads"),
    ({"cu_seqlens_q": [0, 3]}, "1 rows of queries, 2 of keys, 1 prefixes"),
    ({"cu_seqlens_k": [0, 1, 2, 6]}, "2 rows of queries, 3 of keys, 2 prefixes"),
    ({"prefixes": [None]}, "2 rows of queries, 2 of keys, 1 prefixes"),
    ({"prefixes": [None] * 3}, "2 rows of queries, 2 of keys, 3 prefixes"),
    ({"cu_seqlens_q": [0, 3, 7]}, "end at 7, 6: past the 6 packed query tokens"),
    ({"cu_seqlens_k": [0, 4, 9]}, "end at 5, 9: .* the 6 own tokens"),
    ({"cu_seqlens_q": [1, 3, 5]}, r"start at 1"),
    ({"cu_seqlens_k": [2, 3, 6]}, r"start at .* 2"),
    ({"cu_seqlens_q": [0, 0, 5]}, "row 0 has 0 query tokens and 4 own tokens"),
    ({"cu_seqlens_q": [0, 3, 2]}, "row 1 has -1 query tokens"),
    ({"cu_seqlens_q": [0, 3, 6]}, "row 1 has 3 query tokens and 2 own tokens"),
    (
        {"header": Extent(torch.zeros(4, 1, 8), torch.zeros(4, 1, 8))},
        r"\(4, 1, 8\).*\(2, 8\) a",
    ),
    ({"prefixes": [None, Extent(torch.zeros(4, 2, 9), K)]}, r"\(4, 2, 9\).*\(2, 8\) a token"),
    ({"header": Extent(torch.zeros(4, 2, 8), torch.zeros(3, 2, 8))}, r"\(4, 2, 8\).*\(3, 2, 8\)"),
    ({"cu_seqlens_q": [], "cu_seqlens_k": []}, "-1 rows"),
    ({"k": K.double(), "v": K.double()}, "k is torch.float64 on cpu, q torch.float32"),
    ({"v": K.double()}, "v is torch.float64"),
    ({"header": Extent(K.double(), K)}, "extent of torch.float64 without scales"),
    ({"header": Extent(K, K8)}, "extent of torch.int8 without scales"),
    ({"header": Extent(K8, K8, SCALE, SCALE)}, "header has scales"),
    ({"prefixes": [None, Extent(K, K8, SCALE, SCALE)]}, "extent of torch.float32 with scales"),
    ({"prefixes": [None, Extent(K8, K8, SCALE)]}, "one of k_scale and v_scale"),
    ({"prefixes": [None, Extent(K, K, None, SCALE)]}, "one of k_scale and v_scale"),
    ({"prefixes": [Extent(K8, K8, SCALE, SCALE.double()), None]}, "v_scale is torch.float64"),
    (
        {"prefixes": [Extent(K8, K8, SCALE[:5], SCALE), None]},
        r"k_scale .*\(5, 2, 1\) .* \(6, 2, 8\); .*\(1, 2, 1\) or \(1, 2, 8\) or \(6, 2, 1\)",
    ),
    (
        {"prefixes": [Extent(K8, K8, torch.ones(6, 2, 8), SCALE), None]},
        r"k_scale .*\(6, 2, 8\) of",
    ),
    (
        {"prefixes": [Extent(K8, K8, SCALE, torch.ones(1, 2, 8)), None]},
        r"v_scale .*\(1, 2, 8\) of .*; give float32 \(1, 2, 1\) or \(6, 2, 1\)",
    ),
    ({"prefixes": [Extent(K8, K8, SCALE[:, :, 0], SCALE), None]}, r"k_scale .*\(6, 2\) of"),
    ({"prefixes": [None, Extent(K.to("meta"), K)]}, "extent on meta, q on cpu"),
    (
        {"prefixes": [Extent(K8, K8, SCALE, SCALE.to("meta")), None]},
        "v_scale on meta, its",
    ),
    ({"prefixes": [None, Extent(K.mT.contiguous().mT, K)]}, r"strides \(16, 1, 2\); the last"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_contradicting_shapes_are_refused_with_their_values(
    change: dict[str, Any], message: str
) -> None:
    sound: dict[str, Any] = {
        "q": torch.zeros(6, 4, 8),
        "k": K,
        "v": K,
        "cu_seqlens_q": [0, 3, 5],
        "cu_seqlens_k": [0, 4, 6],
    }
    assert band_attention(**sound).shape == (6, 4, 8)
    with pytest.raises(ValueError, match=message):
        band_attention(**{**sound, **change})
