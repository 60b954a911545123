"""Console presets."""
