"""Which exit, band and keep ratio a checkpoint bears on given data: the miniReranker analysis.

    from minireranker.probe import probe
    result = probe("path/to/checkpoint", "path/to/dataset")
    result.choice.reasons

Importing this room imports neither torch nor the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .settings import ProbeSettings

if TYPE_CHECKING:
    from .result import ProbeResult
    from .run import probe

__all__ = ["ProbeResult", "ProbeSettings", "probe"]


def __getattr__(name: str) -> Any:
    """Load what needs torch on first use."""
    if name == "probe":
        from .run import probe

        return probe
    if name == "ProbeResult":
        from .result import ProbeResult

        return ProbeResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
