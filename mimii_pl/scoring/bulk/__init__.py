"""Scoring of very many recordings, in shards, by threads or by Ray."""
