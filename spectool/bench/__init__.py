"""Benchmarks behind ``spectool bench`` and ``spectool demo``."""
