"""Krylov processes with everything orthogonalized twice."""

import numpy as np


def lanczos(A, start, steps):
    """Return alpha, beta and the basis (columns), orthogonal to rounding."""
    V = [start / np.linalg.norm(start)]
    alpha, beta = [], []
    for _ in range(steps):
        r = A @ V[-1]
        alpha.append(np.vdot(V[-1], r).real)
        Q = np.stack(V, axis=1)
        for _ in range(2):
            r = r - Q @ (Q.conj().T @ r)
        beta.append(np.linalg.norm(r))
        V.append(r / beta[-1])
    return np.array(alpha), np.array(beta), np.stack(V, axis=1)


def cg(A, b, M, rtol, maxiter):
    """Textbook preconditioned CG on dense A and M; returns x and the iteration count."""
    x = np.zeros_like(b)
    r = b.copy()
    z = M @ r
    p = z
    rho = np.vdot(r, z).real
    for k in range(maxiter):
        if np.linalg.norm(r) <= rtol * np.linalg.norm(b):
            return x, k
        Ap = A @ p
        step = rho / np.vdot(p, Ap).real
        x = x + step * p
        r = r - step * Ap
        z = M @ r
        rho, old = np.vdot(r, z).real, rho
        p = z + rho / old * p
    return x, maxiter


def pcg_iterations(eigenvalues, preconditioner, b, rtol, maxiter):
    return cg(np.diag(eigenvalues), b, np.diag(preconditioner), rtol, maxiter)[1]
