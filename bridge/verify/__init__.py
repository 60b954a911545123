"""Renders what was written with real plugins and measures how well the match survived; nothing is exported here."""
