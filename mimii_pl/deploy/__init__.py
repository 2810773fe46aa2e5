"""A finished run as files that score on a machine of their own, without torch."""
