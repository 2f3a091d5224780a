"""Models: checkpoints on disk, and the networks they fill."""

from .checkpoint import Checkpoint
from .hub import resolve

__all__ = ["Checkpoint", "resolve"]
