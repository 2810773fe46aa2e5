"""Shared foundations: configuration, files, processes, errors. Imports nothing else of this package."""
