"""Scoring very many recordings."""
