"""Ardour sessions: written here; how they are rendered is in `bridge.verify.daw.ardour`."""
