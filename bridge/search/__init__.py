"""The search: start, fit, prune."""
