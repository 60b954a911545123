"""Processor specifications, reference DSP and differentiable twins."""
