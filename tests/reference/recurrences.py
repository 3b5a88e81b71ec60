"""Both executions of a recurrence on a dense matrix, as the class docstring writes them."""

import numpy as np


def forward(A, a, b, c, w, x):
    earlier, v = np.zeros_like(x), x
    total = w[0] * x
    for k in range(len(a)):
        earlier, v = v, a[k] * (A @ v) + b[k] * v + c[k] * earlier
        total = total + w[k + 1] * v
    return total


def clenshaw(A, a, b, c, w, x):
    u_next, u = np.zeros_like(x), w[-1] * x
    for k in reversed(range(len(a))):
        after = c[k + 1] * u_next if k + 1 < len(a) else 0
        u_next, u = u, w[k] * x + a[k] * (A @ u) + b[k] * u + after
    return u
