"""Clips -> their split into train, validation and test: one module per protocol."""

from mimii_pl.protocol._held_out import HeldOut, Protocol, hold_out

__all__ = ["HeldOut", "Protocol", "hold_out"]
