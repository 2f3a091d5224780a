"""How long a query takes, beside peers on the same pairs, and what the machine could do at most."""

from .bench import LatencyBench, check_size, run
from .workload import LatencyWorkload, find_workload, workloads

__all__ = ["LatencyBench", "LatencyWorkload", "check_size", "find_workload", "run", "workloads"]
