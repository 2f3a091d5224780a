"""What a model is computed on and in: device, dtype and attention backend from a caller's words."""

from __future__ import annotations

from typing import NamedTuple

import torch

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import BACKENDS, choose_backend
from minireranker.kernels.band_attention import requirement as backend_requirement
from minireranker.kernels.quantised import KINDS, Kind, requirement


class Precision(NamedTuple):
    """What a model is computed in."""

    dtype: torch.dtype
    products: Kind | None = None
    """The decoder's, where they are in eight bits."""

    @property
    def name(self) -> str:
        """That of the eight bits, else of the dtype."""
        return self.products or str(self.dtype).removeprefix("torch.")


def find_device(device: str | torch.device) -> torch.device:
    """A device that computes; ``"auto"`` is CUDA where there is any. Raises ConfigurationError."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.zeros(1, device=device)
        probe.tolist()  # a device that computes nothing, such as "meta", fails here
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ConfigurationError(
            f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]}); "
            "use 'cpu', 'cuda' or 'auto'"
        ) from error
    # The tensor's, not the one given: "cuda" has become "cuda:0", and entries are kept under it.
    return probe.device


def find_precision(dtype: str | torch.dtype, stored: str, device: torch.device) -> Precision:
    """``find_dtype``, or "int8" / "fp8": products in eight bits, the rest as by "auto".

    Raises ConfigurationError.
    """
    for kind in KINDS:
        if dtype == kind:
            if reason := requirement(kind, device):
                raise ConfigurationError(f"dtype {kind!r}: {reason}")
            return Precision(find_dtype("auto", stored, device), kind)
    return Precision(find_dtype(dtype, stored, device))


def find_dtype(dtype: str | torch.dtype, stored: str, device: torch.device) -> torch.dtype:
    """``"auto"``: as stored where that is fast, else float32. Raises ConfigurationError."""
    allowed = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32", "float64")}
    if dtype == "auto":
        if device.type == "cpu":
            fast = stored == "bfloat16" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
            return torch.bfloat16 if fast else torch.float32
        dtype = stored if stored in allowed else "bfloat16"
    number = dtype if isinstance(dtype, torch.dtype) else allowed.get(str(dtype))
    if number not in allowed.values():
        raise ConfigurationError(f"dtype {dtype!r}: use one of {', '.join(allowed)} or 'auto'")
    if number is torch.float16 and device.type == "cpu":
        raise ConfigurationError(
            "dtype float16 on a CPU is many times slower than float32; use bfloat16 or float32"
        )
    assert isinstance(number, torch.dtype), "None is not among the allowed"
    return number


def find_backend(backend: str, device: torch.device) -> str:
    """The attention backend of that name. Raises ConfigurationError."""
    if backend == "auto":
        return choose_backend(device)
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend {backend!r}: use one of {', '.join(BACKENDS)} or 'auto'")
    if reason := backend_requirement(backend, device):
        raise ConfigurationError(reason)
    return backend
