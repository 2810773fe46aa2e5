"""Waveform [B, T] -> representation [B, C, F, N]: one module per representation."""

from mimii_pl.features._spectral import Spectral, Statistics

__all__ = ["Spectral", "Statistics"]
