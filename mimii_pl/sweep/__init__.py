"""Sweeps: searches, pruning, leaderboards, and training and registering the winners."""
