"""Mixbridge: turns dry stems and their finished mix into an editable DAW session. Holds the version only."""

__version__ = "0.1.0"
