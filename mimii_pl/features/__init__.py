"""Waveform to representation, in batches, on the device the waveform is on."""
