"""
f(A)b and its error estimate
============================

``funm_multiply`` returns an approximation and an estimate of its relative error. This script
compares the estimate with the truth, for every named function.
"""

# %%
# The matrix is small enough for a dense eigendecomposition.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse

import spectool as st

A = st.collection.load("pyamg/bar")
A = A / st.estimate_spectrum(A, rng=577215).interval[1]  # eigenvalues in (0, 1]
n = A.shape[0]
b = np.random.default_rng(577215).standard_normal(n)
lam, V = np.linalg.eigh(A.toarray())
print(f"n = {n}, condition number {lam[-1] / lam[0]:.2e}")

functions = {
    "exp": np.exp,
    "phi1": lambda z: np.expm1(z) / z,
    "inv": lambda z: 1 / z,
    "sqrt": np.sqrt,
    "invsqrt": lambda z: z**-0.5,
    "log": np.log,
}


def relative_error(y, f):
    exact = V @ (f(lam) * (V.T @ b))
    return np.linalg.norm(y - exact) / np.linalg.norm(exact)


# %%
# The estimate should lie above the true error, and not far above it.

print(f"{'f':<8} {'rtol':>6} {'estimate':>9} {'true':>9}  matvecs  method")
for name, f in functions.items():
    for rtol in (1e-4, 1e-8):
        solution = st.funm_multiply(name, A, b, rtol=rtol, rng=1729)
        error = relative_error(solution.y, f)
        print(
            f"{name:<8} {rtol:6.0e} {solution.error_estimate:9.1e} {error:9.1e}  "
            f"{solution.n_matvecs:7d}  {solution.method}"
        )

# %%
# The indefinite case: the sign function of a shifted matrix. Ritz values wander through the gap
# around zero, so Lanczos takes nearly twice as many steps as the matrix has rows. For a matrix
# this small the automatic choice gives up after n / 2 steps and diagonalizes it.

shift = 0.5 * (lam[n // 2] + lam[n // 2 - 1])
B = A - shift * scipy.sparse.eye_array(n)
exact = V @ (np.sign(lam - shift) * (V.T @ b))
for method in ("lanczos", "auto"):
    solution = st.funm_multiply("sign", B, b, rtol=1e-6, method=method, rng=1729)
    error = np.linalg.norm(solution.y - exact) / np.linalg.norm(exact)
    print(f"{solution.method}\n  estimate {solution.error_estimate:.1e}, true {error:.1e}")

# %%
# How the estimate falls
# ----------------------
#
# A callback sees the estimate at each check. The true error of the same iterate comes from runs
# that are stopped there. In the first steps the estimate may lie *below* the truth: the smallest
# Ritz value stands in for the smallest eigenvalue, and it is still much too large. So do not
# trust a loose tolerance, 1e-2 or more, on an ill-conditioned matrix.

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for name, color in (("invsqrt", "C0"), ("sqrt", "C1"), ("log", "C2")):
    checks = []

    def record(state, checks=checks):
        checks.append((state.iteration, state.error_estimate))

    st.funm_multiply(name, A, b, method="lanczos", rtol=1e-10, rng=1729, callback=record)
    true = []
    for steps, _ in checks:

        def stop(state, steps=steps):
            return state.iteration >= steps

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.errors.ConvergenceWarning)
            early = st.funm_multiply(
                name, A, b, method="lanczos", rtol=1e-14, rng=1729, callback=stop
            )
        true.append(relative_error(early.y, functions[name]))
    ax.semilogy(*zip(*checks, strict=True), "--", color=color, label=f"{name}, estimate")
    ax.semilogy([k for k, _ in checks], true, color=color, label=f"{name}, truth")
ax.set(xlabel="Lanczos steps", ylabel="relative error", ylim=(1e-13, 1e3))
ax.legend(frameon=False, ncol=3, fontsize="small")
