"""Embeddings of normal clips -> score: one module per back end."""

from mimii_pl.backend._backend import BackEnd
from mimii_pl.backend._estimator import Estimator

__all__ = ["BackEnd", "Estimator"]
