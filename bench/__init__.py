"""Benchmarks, the demo, and the oracle: the full-sequence model everything is held to."""
