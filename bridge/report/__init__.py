"""The page a user opens after a search."""
