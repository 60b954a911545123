"""Runs JSFX, REAPER's scripted effects, compiled and offline; hosts of plugins live beside this package."""

from .header import Slider
from .host import Effect, load_effect

__all__ = ["Effect", "Slider", "load_effect"]
