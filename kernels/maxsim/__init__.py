"""MaxSim of ragged queries and ragged documents: how well each query token is met, added up."""

from .api import BACKENDS, choose_backend, maxsim

__all__ = ["BACKENDS", "choose_backend", "maxsim"]
