"""Newton's iteration for the inverse makes no new polynomial: Chebyshev's, of degree 2^k - 1.

X <- X (2 - A X) squares the residual R = I - A X. Scaled for an interval, the step maps R to
(2 R^2 / e^2 - 1) / (2 / e^2 - 1), e = max |R|: T_2 of T_m is T_2m. Hence a Newton-Chebyshev
preconditioner (Bergamaschi and Martinez, 2021) is ``chebyshev_inverse``, detuned by its interval.
"""

import numpy as np
import pytest

from spectool.polynomials import chebyshev_inverse


def newton_chebyshev(z, interval, doublings):
    """Values at z of the scaled Newton iteration, started from the best constant."""
    lower, upper = interval
    x = np.full_like(z, 2.0 / (lower + upper))
    e = (upper - lower) / (upper + lower)
    for _ in range(doublings):
        # 1 - z x' = (2 r^2 - e^2) / (2 - e^2) with r = 1 - z x
        x = 2.0 * x * (2.0 - z * x) / (2.0 - e * e)
        e = e * e / (2.0 - e * e)
    return x


@pytest.mark.parametrize("interval", [(1.0, 3.0), (1e-3, 2.0), (1e-6, 1.0)])
@pytest.mark.parametrize("doublings", [0, 1, 2, 3, 5])
def test_scaled_newton_is_chebyshev(interval, doublings):
    z = np.geomspace(*interval, 501)
    q = chebyshev_inverse(interval, 2**doublings - 1)
    np.testing.assert_allclose(z * q(z), z * newton_chebyshev(z, interval, doublings), atol=1e-12)


def test_plain_newton_is_the_neumann_series_of_the_same_degree():
    z, omega = np.linspace(0.1, 1.9, 101), 0.9
    x = np.full_like(z, omega)
    for _ in range(3):
        x = x * (2.0 - z * x)
    np.testing.assert_allclose(1 - z * x, (1 - omega * z) ** 8, atol=1e-13)
