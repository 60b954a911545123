"""Ardour sessions: written here; how they are rendered is in `bridge.hosting.ardour`."""
