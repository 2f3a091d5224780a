"""How long a query takes, beside peers on the same pairs, and what the machine could do at most."""

from .admission import check_size
from .bench import LatencyBench, run
from .workload import LatencyWorkload, find_workload, workloads

__all__ = ["LatencyBench", "LatencyWorkload", "check_size", "find_workload", "run", "workloads"]
