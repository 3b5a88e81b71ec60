"""Compiled loops, the only place that imports numba: flat arrays in, flat arrays out."""
