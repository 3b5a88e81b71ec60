"""Eigenvalue tools that factorize nothing."""

from spectool.eigen.filters import SpectralFilter, spectral_filter

__all__ = ["SpectralFilter", "spectral_filter"]
