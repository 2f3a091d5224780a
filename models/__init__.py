"""Models: checkpoints on disk, and the networks they fill."""

from .checkpoint import Checkpoint
from .hub import BUILTIN, resolve

__all__ = ["BUILTIN", "Checkpoint", "resolve"]
