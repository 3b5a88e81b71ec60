"""Derivatives of f(A) b with respect to A."""
