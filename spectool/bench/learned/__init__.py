"""The benchmark of what was learned: designs, coefficients, plans."""
