"""
Interior eigenvalues without a factorization
============================================

``spectral_filter`` returns a polynomial of A that is near one on a window and near zero elsewhere.
Its dominant eigenvectors are those of A in the window, so SciPy's ``eigsh`` finds them.
"""

# %%
# The eigenvalues of the finite-difference Laplacian are known in closed form.

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse.linalg as sla

import spectool as st
from spectool import plotting

shape = (60, 50)
A = st.gallery.poisson(shape)
truth = st.gallery.poisson_eigenvalues(shape)
window = (2.0, 2.1)

# %%
# The filter. Without ``degree`` it follows from the width of the window.

F = st.spectral_filter(A, window, rng=141421)
print(F)
count = F.spectrum.count(*window)
inside = truth[(truth > window[0]) & (truth <= window[1])]
print(f"eigenvalues: {count.value:.0f} +- {count.standard_error:.0f}, true {inside.size}")

figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
plotting.response(F.recurrence, ax=ax)
ax.axvspan(*window, alpha=0.2, color="C1", label="window")
ax.set_xlim(1.0, 3.2)
ax.legend(frameon=False)

# %%
# Ask for more pairs than the estimate, and keep those whose Rayleigh quotient lies inside.

k = int(np.ceil(count.value + 2 * count.standard_error)) + 5
mu, V = sla.eigsh(F, k=k, which="LA", tol=1e-10, rng=141421)
rayleigh = np.einsum("ij,ij->j", V, A @ V)
residual = np.linalg.norm(A @ V - V * rayleigh, axis=0)
good = (rayleigh > window[0]) & (rayleigh <= window[1]) & (residual < 1e-6)
kept = np.sort(rayleigh[good])
print(f"asked for {k} pairs, kept {kept.size}")
print(f"largest difference from the true eigenvalues {np.abs(kept - inside).max():.1e}")
print(f"products with A: {F.n_matvecs}")

# %%
# Completeness is not automatic. If all k filtered values lie inside the window, k was too small;
# here the smallest of them lies outside.

edge = F.recurrence(np.array(window)).min()
print(f"smallest filter value found {mu.min():.3f}; at the edges {edge:.3f}")
assert mu.min() < edge

# %%
# Was it worth it? Not here. This matrix is two-dimensional and small, and a factorization is
# cheap: ``sla.eigsh(A, k, sigma=2.05)`` is the better tool. The filter needs the products with A
# printed above, and memory for vectors only. It is for matrices whose factor does not fit.

# %%
# At an end of the spectrum
# -------------------------
#
# A window that reaches an end of the spectrum gets the minimax Chebyshev filter instead. It does
# not stay below one: it grows towards the wanted end.

E = st.spectral_filter(A, (-np.inf, 0.05), degree=20, rng=141421)
print(E)
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
plotting.response(E.recurrence, ax=ax)
ax.set(xlim=(0, 2), title="filter for the lower end")
