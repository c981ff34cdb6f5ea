"""Rewrites of a graph: folding, quantization, and what later compresses it."""
