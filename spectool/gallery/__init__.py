"""Matrices of any size with known structure: differences, elements, spectra, graphs, dense laws.

Those of ``gallery.dense`` are arrays of float64. Every other function returns a ``csr_array`` of
float64 with sorted int32 indices and no stored zeros (int64 only beyond 2**31 entries). Grid points
are numbered as NumPy numbers the elements of an array of that shape: the last index runs fastest.
Matrices are scaled so that the grid spacing drops out; entries and eigenvalues are pure numbers
unless stated otherwise.
"""

from spectool.gallery.dense import (
    erdos_renyi_laplacian,
    heavy_tailed,
    image_covariance,
    prescribed_singular_values,
    quartic_hessian,
    uniform_spectrum,
    wishart,
)
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
    "erdos_renyi_laplacian",
    "graph_laplacian",
    "grid_graph",
    "heavy_tailed",
    "image_covariance",
    "jump",
    "log_uniform",
    "path_graph",
    "poisson",
    "poisson_eigenvalues",
    "prescribed_singular_values",
    "quartic_hessian",
    "random_graph",
    "random_spectrum",
    "uniform_spectrum",
    "wishart",
]
