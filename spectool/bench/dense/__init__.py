"""The benchmark of dense matrix functions."""
