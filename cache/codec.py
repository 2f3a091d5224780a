"""Codecs: in how many bytes the K and V of a first segment are kept.

K is [layers, tokens, kv_heads, head_dim], normed and rotated. Its channels differ by orders of
magnitude (the norm's weights) and many have a mean far from zero, while V differs by token: so K
shares scales over tokens, V over channels. Bytes of one token in one head of 128 channels, K and V,
in a document of 160 tokens (the model's dtype being bfloat16):

    exact, bf16   512
    fp8           256   one scale a head
    int8          263   K: one scale a channel; V: one a token
    int4          149   step and centre; K: a channel and 40 tokens; V: a token and 64 channels
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

from .forms import Form, Nibbles, Plain, Scaled
from .grouping import Grouping

_HEAD, _CHANNEL, _TOKEN = Grouping(), Grouping(channels=1), Grouping(tokens=1)
_FP8 = Scaled(torch.float8_e4m3fn, 448, _HEAD)
_FORMS: dict[str, tuple[Form, Form]] = {
    "exact": (Plain(), Plain()),
    "bf16": (Plain(torch.bfloat16), Plain(torch.bfloat16)),
    "fp8": (_FP8, _FP8),
    "int8": (Scaled(torch.int8, 127, _CHANNEL), Scaled(torch.int8, 127, _TOKEN)),
    "int4": (Nibbles(Grouping(tokens=40, channels=1)), Nibbles(Grouping(tokens=1, channels=64))),
}
CODECS = tuple(_FORMS)
"""From the most exact to the smallest."""
_SOURCES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def check_codec(name: str) -> str:
    """``name`` if there is such a codec. Raises ConfigurationError."""
    if name not in CODECS:
        raise ConfigurationError(f"cache codec {name!r}: use one of {', '.join(CODECS)}")
    return name


def encode(codec: str, k: Tensor, v: Tensor) -> dict[str, Tensor]:
    """K and V [layers, tokens, kv_heads, head_dim], floating point, as the codec's parts.

    Layers and tokens may be zero; ``head_dim`` is even. Parts are named "k", "v", "k_scale" ...;
    dim 0 of each is the layer, and each is contiguous. With "exact" they may be ``k`` and ``v``
    themselves. Raises ConfigurationError for an unknown codec, ValueError for other tensors.
    """
    forms = _FORMS[check_codec(codec)]
    same = k.shape == v.shape and k.dtype == v.dtype
    if not same or k.ndim != 4 or k.shape[3] % 2 or k.dtype not in _SOURCES:
        raise ValueError(
            f"K {k.dtype} {list(k.shape)}, V {v.dtype} {list(v.shape)}: expected one shape [layers,"
            " tokens, kv_heads, even head_dim] of one floating-point dtype"
        )
    sides = zip("kv", forms, (k, v), strict=True)
    return {s + name: part for s, form, x in sides for name, part in form.encode(x).items()}


def decode_layer(
    codec: str, parts: Mapping[str, Tensor], layer: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """K and V [tokens, kv_heads, head_dim] of one layer, in ``dtype``, from ``encode``'s parts.

    Views without a copy if they are kept in ``dtype`` as they are. The layer's own parts alone
    decide. Parts from a file have to pass ``check_parts`` first.
    """
    k, v = _FORMS[codec]
    of_k = {name[1:]: part[layer] for name, part in parts.items() if name[0] == "k"}
    of_v = {name[1:]: part[layer] for name, part in parts.items() if name[0] == "v"}
    return k.decode(of_k, dtype), v.decode(of_v, dtype)


def check_parts(codec: str, parts: Mapping[str, Tensor], tokens: int) -> None:
    """Whether ``parts`` could have come from ``encode``, for a document of ``tokens`` tokens.

    Looks at names, shapes and dtypes only. Raises ValueError (ConfigurationError for an unknown
    codec); after that, ``decode_layer`` can be called for every layer. Parts without a layer say
    nothing about tokens.
    """
    forms = _FORMS[check_codec(codec)]
    k = parts.get("k")
    if k is None or k.ndim != 4:
        kind = "missing" if k is None else f"{k.dtype} {list(k.shape)}"
        raise ValueError(f"part k of codec {codec} is {kind}: expected 4 dimensions")
    layers, rows, *head = k.shape
    shape = layers, tokens if layers else rows, *head
    own = k.dtype if k.dtype in _SOURCES else None
    expected = {
        side + name: f"{dtype or own} {list(size)}"
        for side, form in zip("kv", forms, strict=True)
        for name, (size, dtype) in form.layout(*shape).items()
    }
    found = {name: f"{part.dtype} {list(part.shape)}" for name, part in parts.items()}
    for name in sorted(expected.keys() | found.keys()):
        given, wanted = found.get(name, "missing"), expected.get(name, "no such part")
        if given != wanted:
            raise ValueError(f"part {name} of codec {codec} is {given}: expected {wanted}")
