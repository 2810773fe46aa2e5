"""Hostile input, generated from a seed, and processes that are killed; `make attack` runs all of it."""
