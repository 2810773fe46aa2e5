"""Scoring with a finished run: recordings, few or very many, metrics and results."""
