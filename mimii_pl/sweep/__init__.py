"""Searches: which values are tried, which trials are ended early, what came out."""
