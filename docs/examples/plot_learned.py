"""
What networks choose
====================

Two networks at work: one writes the coefficients of a polynomial, one chooses among classical
designs. Both see nothing but a probe of a few Lanczos steps.
"""

# %%
# An operator whose spectrum is known: 400 eigenvalues, log-uniform in [0.01, 1]. Eight Lanczos
# steps see little of its lower end.

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse

import spectool as st
from spectool.learned import NAMES, Predictor, choose, member

rng = np.random.default_rng(161803)
eigenvalues = np.sort(100.0 ** -rng.random(400))
A = sparse.diags_array(eigenvalues).tocsr()
spectrum = st.estimate_spectrum(A, steps=8, rng=rng)
print(f"smallest eigenvalue {eigenvalues[0]:.4f}, Ritz value {spectrum.ritz_values[0]:.4f}")

# %%
# The coefficient predictor starts from Chebyshev's method on the interval that the probe saw, and
# corrects it. It guesses that the spectrum reaches further down: its residual polynomial ``1 - z
# p(z)`` gives larger ripples where all is well for a smaller value at the end, which is the way to
# the equiripple polynomial of the true interval. A guard compares both on a spectrum that another
# network completes, and may keep Chebyshev's; what it says is printed.

found = Predictor.default("inverse")(spectrum, 8)
z = np.geomspace(eigenvalues[0], eigenvalues[-1], 2000)
figure, ax = plt.subplots(figsize=(7.4, 3.4), layout="constrained")
for name, p in (("Chebyshev on what was seen", found.classical), ("predicted", found.learned)):
    ax.plot(z, 1.0 - z * p(z), label=f"{name}: {np.abs(1.0 - z * p(z)).max():.2f} at most")
ax.axvline(spectrum.ritz_values[0], color="0.6", linewidth=1, linestyle=":")
ax.set(xscale="log", xlabel="eigenvalue (dotted: smallest Ritz value)", ylabel="1 - z p(z)")
ax.legend(frameon=False)
print(found.reason)

# %%
# Choosing is worth more
# ----------------------
#
# For CG a polynomial need not be small everywhere. Sixteen classical designs compete; a network
# predicts what CG takes with each, over plain CG. Here are its predictions beside the truth, on a
# diffusion problem with jumps.

B = st.gallery.jump((50, 50), rng=161803)
spectrum = st.estimate_spectrum(B, scaling="symmetric", rng=161803)
decision = choose(spectrum, 8)
scale = sparse.diags_array(1.0 / np.sqrt(B.diagonal()))
S = (scale @ B @ scale).tocsr()
b = np.random.default_rng(161803).standard_normal(2500)
plain = st.cg(S, b, rtol=1e-8).n_iterations


def iterations(q):
    """Return CG's iterations with M = q(S)."""
    operator = sparse.linalg.LinearOperator(S.shape, matvec=lambda x: apply(q, x))
    return st.cg(S, b, M=operator, rtol=1e-8).n_iterations


def apply(q, x):
    """Return q(S) x by Clenshaw's algorithm."""
    u, after = q.w[-1] * x, 0.0 * x
    c = np.append(q.c, 0.0)
    for k in range(q.degree - 1, -1, -1):
        u, after = q.w[k] * x + q.a[k] * (S @ u) + q.b[k] * u + c[k + 1] * after, u
    return u


true = {name: 9 * iterations(member(name, spectrum, 8).recurrence) / plain for name in NAMES}
order = sorted(NAMES, key=true.get)
figure, ax = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
ax.plot([true[name] for name in order], order, "o", label="CG")
ax.plot([decision.scores[name] for name in order], order, "x", label="predicted")
ax.set(xlabel="matvecs over those of plain CG, degree 8")
ax.invert_yaxis()
ax.legend(frameon=False)
print(decision.reason)
print(f"matvecs over the best: {true[decision.member.name] / min(true.values()):.2f}")
