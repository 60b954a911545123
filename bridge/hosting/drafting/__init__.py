"""Drafting a profile for a plugin that has none: guesses from its names, measurements, fits; `draft` ties them together."""
