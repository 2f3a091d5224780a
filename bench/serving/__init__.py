"""The sidecar under load: what it admits, refuses and delivers, and what that costs."""

from .bench import ServingBench, run

__all__ = ["ServingBench", "run"]
