"""Matrices of any size with known structure: differences, elements, spectra, graphs.

Each function returns a ``csr_array`` of float64 with sorted int32 indices and no stored zeros
(int64 only beyond 2**31 entries). Grid points are numbered as NumPy numbers the elements of an
array of that shape: the last index runs fastest. Matrices are scaled so that the grid spacing drops
out; entries and eigenvalues are pure numbers unless stated otherwise.
"""

from spectool.gallery.elements import elasticity
from spectool.gallery.graphs import graph_laplacian, grid_graph, path_graph, random_graph
from spectool.gallery.spectra import log_uniform, random_spectrum
from spectool.gallery.stencils import (
    anisotropic,
    convection_diffusion,
    diffusion,
    jump,
    poisson,
    poisson_eigenvalues,
)

__all__ = [
    "anisotropic",
    "convection_diffusion",
    "diffusion",
    "elasticity",
    "graph_laplacian",
    "grid_graph",
    "jump",
    "log_uniform",
    "path_graph",
    "poisson",
    "poisson_eigenvalues",
    "random_graph",
    "random_spectrum",
]
