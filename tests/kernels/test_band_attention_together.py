"""Short rows of the packed backend share products, and nobody can tell from what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from minireranker.kernels.band_attention.packed_together import is_short

DTYPES = [torch.float32, torch.bfloat16, torch.float64]
LENGTHS = st.tuples(
    st.sampled_from([1, 2, 7, 8, 9, 17, 40]),
    st.sampled_from([0, 3]),
    st.none() | st.sampled_from([0, 5, 20, 33, 700]),
)


class Products(TorchDispatchMode):
    """Notes the shapes of batched products."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bmm.default:
            self.shapes.append(tuple(tuple(part.shape) for part in args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rows_by_the_dozen_have_the_bits_they_have_alone(
    shape_of: Any, case_of: Callable[..., Any], dtype: torch.dtype, data: st.DataObject
) -> None:
    kinds = data.draw(st.lists(LENGTHS, min_size=1, max_size=4))
    drawn = data.draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=40))
    rows = [(queries, queries + more, prefix) for queries, more, prefix in drawn]
    heads, kv_heads = data.draw(st.sampled_from([(1, 1), (4, 2), (6, 3), (8, 1)]))
    shape = shape_of(
        *(rows, data.draw(st.none() | st.just(60)), heads, kv_heads),
        data.draw(st.sampled_from([8, 16, 32, 64])),
    )
    case = case_of(shape, dtype=dtype)
    if data.draw(st.booleans()):
        case = case.sharing()
    out, lse = case.attend_lse("packed")
    assert torch.equal(out, case.attend("packed"))
    for row in range(len(rows)):
        part = slice(case.cu_q[row], case.cu_q[row + 1])
        alone, alone_lse = case.only(row).attend_lse("packed")
        assert torch.equal(alone, out[part])
        assert torch.equal(alone_lse, lse[part])


def test_short_rows_are_close_to_float64_among_long_ones(
    shape_of: Any, case_of: Callable[..., Any]
) -> None:
    rows = [(9, 9, 20), (300, 305, 40), (17, 17, 20), (1, 6, 900), (9, 12, None)] * 4
    case = case_of(shape_of(rows, 62, 4, 2, 32))
    call = case.call()
    lengths = [(queries, 62 + own + (prefix or 0)) for queries, own, prefix in rows]
    assert {is_short(call, *each) for each in lengths} == {True, False}
    exact, exact_lse = case.to(torch.float64).attend_lse("reference")
    out, lse = case.attend_lse("packed")
    end = case.cu_q[-1]
    torch.testing.assert_close(out[:end].double(), exact[:end], rtol=0, atol=2e-6)
    torch.testing.assert_close(lse[:end], exact_lse[:end], rtol=1e-6, atol=2e-6)


def test_calls_of_many_sizes_need_few_different_products(
    shape_of: Any, case_of: Callable[..., Any]
) -> None:
    """oneDNN keeps what it has compiled for a shape: a server's memory grew with every new one."""
    seen, calls = set(), 0
    for count in range(1, 60):
        rows = [(9 + count % 8, 9 + count % 8, 10 + number % 20) for number in range(count)]
        with Products() as products:
            case_of(shape_of(rows, 62, 4, 2, 32), dtype=torch.bfloat16).attend("packed")
        seen |= set(products.shapes)
        calls += len(products.shapes)
    assert len(seen) <= 24, "two products, two lengths of keys, at most six numbers of rows"
    assert calls < 59 * 59, "and not two a row"
