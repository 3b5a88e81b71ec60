"""
Fewer reductions for CG
=======================

A polynomial preconditioner does not save matvecs: CG is optimal per matvec. It saves inner
products, by about its degree, and it runs its matvecs in fused kernels. This script counts both.
"""

# %%
# The matrix is ``HB/bcsstk16``, a structural problem with 4884 unknowns that ships with the
# package.

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse.linalg as sla

import spectool as st
from spectool import plotting

A = st.collection.load("HB/bcsstk16")
n = A.shape[0]
b = np.random.default_rng(161803).standard_normal(n)

# %%
# One probe serves every design.

spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=161803)
designs = {
    "Jacobi": {"method": "jacobi"},
    "Chebyshev, degree 4": {"method": "chebyshev", "degree": 4},
    "Chebyshev, degree 8": {"method": "chebyshev", "degree": 8},
    "4th kind, degree 8": {"method": "chebyshev4", "degree": 8},
    "Chebyshev, degree 16": {"method": "chebyshev", "degree": 16},
}

# %%
# Each iteration of SciPy's ``cg`` costs one product with A, ``degree`` products inside M, and three
# reductions.

histories, rows = {}, []
for name, options in designs.items():
    M = st.preconditioner(A, spectrum=spectrum, **options)
    degree = M.recurrence.degree
    history = [(0, 1.0)]

    def record(x, history=history, degree=degree):
        residual = np.linalg.norm(b - A @ x) / np.linalg.norm(b)
        history.append((history[-1][0] + degree + 1, residual))

    x, info = sla.cg(A, b, M=M, rtol=1e-8, callback=record)
    assert info == 0
    histories[name] = history
    rows.append((name, len(history) - 1, history[-1][0]))

baseline = rows[0]
print(f"{'design':<22} iterations  matvecs  matvecs / Jacobi  reductions / Jacobi")
for name, iterations, matvecs in rows:
    print(
        f"{name:<22} {iterations:>10}  {matvecs:>7}  {matvecs / baseline[2]:>16.2f}  "
        f"{iterations / baseline[1]:>19.2f}"
    )

# %%
# Against matvecs, no curve lies left of Jacobi's for long. Against iterations, which count the
# reductions, each polynomial divides the work by nearly its degree.

per_iteration = {
    name: [(k, residual) for k, (_, residual) in enumerate(history)]
    for name, history in histories.items()
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
plotting.convergence(histories, ax=left)
plotting.convergence(per_iteration, ax=right)
right.set(xlabel="iterations (three reductions each)", ylabel="", xscale="log")
right.get_legend().remove()

# %%
# What is chosen automatically
# ----------------------------
#
# ``preconditioner(A)`` prices these designs on the probe with the costs of the machine at hand, and
# returns Jacobi where nothing promises to beat it. The table depends on the machine.

print(st.preconditioner(A, spectrum=spectrum).report)
