"""Partial fractions close to a function on a region, and the regions they are made for."""
