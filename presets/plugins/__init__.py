"""Plugin suites: a folder each, with one profile for each processor."""
