"""Data, not code: JSFX effects, console presets and plugin profiles."""
