"""Drafting a profile for a plugin that has none; `draft` ties together what the other modules measure and fit."""
