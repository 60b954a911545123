"""REAPER projects."""
