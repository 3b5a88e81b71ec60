"""
A spectrum from 24 matvecs
==========================

``estimate_spectrum`` probes a Hermitian matrix with a few Lanczos steps. It returns safe outer
bounds, Ritz values, and an estimate of how the eigenvalues are distributed. Here the matrix is
small enough to know the truth, so each claim is checked.
"""

# %%
# The matrix is a linear elasticity problem that ships with the package. It is scaled to a unit
# diagonal, as a preconditioner would do.

import matplotlib.pyplot as plt
import numpy as np

import spectool as st

A = st.collection.load("pyamg/bar")
spectrum = st.estimate_spectrum(A, scaling="symmetric", rng=271828)
print(spectrum)

# %%
# Each end of the interval comes with its origin. The extreme Ritz value lies inside the spectrum,
# always. The safe end lies outside, with a risk of 1e-4 over the random start vector.

d = 1.0 / np.sqrt(A.diagonal())
truth = np.linalg.eigvalsh(d[:, None] * A.toarray() * d)
lower, upper = spectrum.interval
print(f"safe interval   [{lower:.6f}, {upper:.6f}]")
print(f"Ritz values     [{spectrum.ritz_values[0]:.6f}, {spectrum.ritz_values[-1]:.6f}]")
print(f"eigenvalues     [{truth[0]:.6f}, {truth[-1]:.6f}]")

# %%
# The upper end is sharp and the lower end is not: 24 steps have not resolved the small eigenvalues.
# The cumulative distribution is continued below the first Ritz value by a power law, Weyl's law.

x = np.geomspace(truth[0] / 2, upper, 400)
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
fractions = (np.arange(truth.size) + 1) / truth.size
left.step(truth, fractions, where="post", label="eigenvalues")
left.plot(x, spectrum.cumulative(x), label="24-step estimate")
left.set(xscale="log", yscale="log", ylim=(1e-3, 1.5))
left.set(xlabel="eigenvalue", ylabel="fraction at most this large")
left.legend(frameon=False)
spectrum.plot(ax=right)
right.set_title("estimated density")

# %%
# Counts carry their standard error.

count = spectrum.count(0.5, 1.5)
print(f"eigenvalues in (0.5, 1.5]: {count.value:.0f} +- {count.standard_error:.0f}")
print(f"true: {np.count_nonzero((truth > 0.5) & (truth <= 1.5))}")

# %%
# Why not the Ritz value plus its residual?
# -----------------------------------------
#
# The usual upper end is the largest Ritz value plus its residual norm. That is no bound: the
# residual says that *some* eigenvalue is near, not that none lies beyond. A short probe shows the
# difference.

missed_usual = missed_safe = 0
for seed in range(300):
    short = st.estimate_spectrum(A, scaling="symmetric", steps=6, rng=seed)
    missed_usual += short.ritz_values[-1] + short.ritz_residuals[-1] < truth[-1]
    missed_safe += short.interval[1] < truth[-1]
print(f"6 steps, 300 starts: Ritz value + residual too small {missed_usual} times")
print(f"                     safe end too small {missed_safe} times")

# %%
# Nor do more steps cure it. An eigenvector may hide from a start vector for long:

B = st.collection.load("HB/lund_a")
largest = np.linalg.eigvalsh(B.toarray())[-1]
probes = [st.estimate_spectrum(B, rng=seed) for seed in range(100)]
usual = np.array([p.ritz_values[-1] + p.ritz_residuals[-1] for p in probes])
safe = np.array([p.interval[1] for p in probes])
missed_usual, missed_safe = (np.sum(ends < (1 - 1e-12) * largest) for ends in (usual, safe))
print(f"24 steps, 100 starts: Ritz value + residual too small {missed_usual} times")
print(f"                      safe end too small {missed_safe} times")

# %%
# The price of safety is an over-estimate, and it falls with the number of steps.

for steps in (6, 12, 24, 48):
    ends = [
        st.estimate_spectrum(A, scaling="symmetric", steps=steps, rng=seed).interval[1]
        for seed in range(50)
    ]
    excess = np.median(ends) / truth[-1] - 1
    print(f"{steps:3d} steps: median over-estimate {100 * excess:.3f} %")
