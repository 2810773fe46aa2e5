"""The ground that everything stands on; imports nothing else of this package."""
