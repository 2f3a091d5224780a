"""The error of everything that a peer can do wrong."""

from __future__ import annotations

from minireranker.errors import ConfigurationError

__all__ = ["PeerError"]


class PeerError(ConfigurationError):
    """A peer that is absent, died, hung, refused, or answered what nobody can read.

    The message ends with the last lines of the peer's stderr where it had begun to run.
    """
