"""Scoring back ends fitted on embeddings of normal clips."""
