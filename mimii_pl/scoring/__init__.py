"""Scoring of recordings, few or very many, with a finished run."""
