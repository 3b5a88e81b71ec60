r"""The polar factor of batches of tensors by matrix products, as optimizers want it.

Source
    Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); Amsel, Persson,
    Musco and Gower, arXiv:2505.16932 (2025) (Polar Express); Grishina, Smirnov and Rakhuba,
    arXiv:2506.10935 (2025) (CANS); Boissin et al., Turbo-Muon (2025) (scaling of columns); Yang et
    al., arXiv:2601.22137 (PRISM).
Deviations
    G is divided not by its Frobenius norm but by ``c = ||(G^H G)^2||^(1/4)``, the smaller of the
    Frobenius and the infinity norm. Both products are those of the first step, so it costs nothing;
    and for a random square matrix of order 1024 c is 1.7 times ``||G||_2`` where the Frobenius norm
    is 16 times it: one to two steps. Before, matrices are divided by powers of two, each its own.
Cost
    ``n_steps`` times 2 products with G and 1 of the small side; see ``fused`` for tall matrices.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch

from spectool._types import Rng
from spectool.dense.algebra import Tensor
from spectool.dense.coefficients import (
    CANS,
    MUON,
    TURBO_STEEP,
    polar_express,
    quintic_interval,
)
from spectool.dense.iterations.sign import QUINTIC
from spectool.dense.steps import Step, Variables
from spectool.errors import InputError
from spectool.torch.fitted import fitted
from spectool.torch.fused import FusedAlgebra, Gram, GramAlgebra

__all__ = ["Method", "orthogonalize"]

Method: TypeAlias = Literal[
    "auto", "polar_express", "muon", "newton_schulz", "cans", "turbo", "prism", "kpe", "exact"
]
Coefs: TypeAlias = tuple[tuple[float, float, float], ...]

STEPS = {
    "polar_express": 5,
    "muon": 5,
    "newton_schulz": 10,
    "cans": 5,
    "turbo": 4,
    "prism": 5,
    "kpe": 5,
}
"""Steps of each method if neither n_steps nor rtol says otherwise."""
TABLES: dict[str, Coefs] = {
    "muon": MUON,
    "cans": CANS,
    "turbo": TURBO_STEEP,  # the other table of its authors turns the sign of values above 0.88
    "newton_schulz": ((1.875, -1.25, 0.375),),
}
"""Steps that do not depend on the matrix; the last one repeats."""
MOST_STEPS = 60
"""Steps among which rtol is looked for."""
SAFETY = 6.0
"""Multiple of eps by which norms, and the values before each step, are taken larger; beside
the rounding of sums. Each step makes what is too large 12 times as much so."""
MOST_SAFETY = 0.05
"""Largest such excess."""
CUSHION = 0.0240733
"""In half precision steps are best from this on, relative to the largest value: else they press
values in between down to ``lower``, and rounding turns their signs."""
HALF = 1e-5
"""Rounding by which half precision is told from single."""
PRECISIONS = {"highest": 2.0**-23, "high": 2.0**-10, "medium": 2.0**-7}
"""eps of ``torch.set_float32_matmul_precision``: float32, TensorFloat-32, bfloat16."""
AMPLIFIED = 0.2
"""Largest ``eps prod a^2``, a the slopes at zero, of steps on one Gram matrix."""
HALF_ROWS = 2**14
"""Rows of entries up to 1 whose squares add up in float16."""


def orthogonalize(
    G: Tensor,
    *,
    method: Method = "auto",
    n_steps: int | None = None,
    rtol: float | None = None,
    lower: float = 1e-3,
    dtype: Any = None,
    check: bool = True,
    rng: Rng = None,
) -> Tensor:
    """Return the polar factor ``U V^H`` of ``G = U S V^H``, to the accuracy that optimizers need.

    Parameters
    ----------
    G : Tensor, shape (..., m, n)
        Real or complex, in half, single or double precision, on any device.
    method : str
        ``"polar_express"`` (also ``"auto"``): the best odd quintics for singular values in
        ``[lower, 1]``. ``"muon"``, ``"cans"``: published tables of quintics; cans in single
        precision at least, since in half rounding turns signs. ``"newton_schulz"``: the quintic of
        order three. ``"turbo"``: columns of the longer side scaled first, with its
        table of four quintics; **this changes the factor**: it is that of G D, D diagonal.
        ``"prism"``, ``"kpe"``: coefficients fitted to each matrix by sketches. ``"exact"``: a
        singular value decomposition.
    n_steps : int, optional
        Quintic steps: 5; 4 for turbo, 10 for newton_schulz.
    rtol : float, optional
        In place of n_steps: singular values from ``lower`` on shall end in
        ``[1 - rtol, 1 + rtol]``, but for rounding. Known before for all methods but prism and kpe,
        which measure ``||I - U^H U||_F / sqrt(n)``.
    lower : float
        The smallest singular value to care for, relative to ``||G||_2`` (or a bound of it, at
        most ``min(m, n)^(1/8)`` times as large). polar_express is made for it; smaller ones come
        out smaller than 1, none larger.
    dtype : torch.dtype, optional
        In which to work, like ``torch.bfloat16`` for G in single precision; that of G.
    check : bool
        Whether to raise for G that is not finite. That waits for the device; without it, NaN in a
        matrix of a batch is NaN in its result, and nowhere else.
    rng : Generator, int or None
        Draws the sketches of prism and kpe.

    Returns
    -------
    Tensor, shape (..., m, n)
        In the data type of G, without gradient. Zero for zero matrices; for matrices of less than
        full rank, of the same rank but for rounding.

    Raises
    ------
    InputError
        If G is no floating tensor of two dimensions or more, is not finite, an option is not known,
        or rtol is out of the method's reach.

    Warns
    -----
    ConvergenceWarning
        If prism or kpe miss rtol.

    Notes
    -----
    Singular values of the result, after the default steps: 0.886 to 1.118 for polar_express, 0.682
    to 1.203 for muon, 0.884 to 1.120 for cans, 0.997 to 1.001 for newton_schulz, and 0.84 to 1.16
    for polar_express in bfloat16. The upper end holds for every G, the lower one for singular
    values from 0.005 times the largest one on. The how-to on optimizers has the table.

    Cost: per step two products of G with matrices of order ``min(m, n)`` and one of that order;
    for tall or wide G in single and double precision 2 and 17 in all, for five steps.

    References
    ----------
    .. [1] Amsel, Persson, Musco and Gower, arXiv:2505.16932, Algorithm 1.

    Examples
    --------
    >>> import torch, spectool.torch
    >>> G = torch.tensor([[3.0, 0.0], [0.0, -0.1], [0.0, 0.0]])
    >>> spectool.torch.orthogonalize(G, rtol=1e-3).numpy().round(2).tolist()
    [[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
    """
    chosen = _checked(G, method, n_steps, rtol, lower)
    with torch.no_grad():
        X = G.detach() if dtype is None else G.detach().to(dtype)
        if chosen == "cans":
            X = X.to(torch.promote_types(X.dtype, torch.float32))
        *batch, m, n = X.shape
        if X.numel() == 0:
            return G.detach().clone()
        X = X.reshape(-1, m, n) if batch else X
        tall = m >= n
        X = _made(X if tall else X.mH, chosen, n_steps, rtol, lower, check, rng)
        X = X if tall else X.mH.resolve_conj()
        return X.reshape(G.shape).to(G.dtype)


def _made(
    G: Tensor,
    method: str,
    n_steps: int | None,
    rtol: float | None,
    lower: float,
    check: bool,
    rng: Rng,
) -> Tensor:
    """Return the polar factor of tall matrices (m, n) or (k, m, n)."""
    X = _scaled(G, check)
    if method == "exact":
        return _exact(X)
    adaptive = method in ("prism", "kpe")
    eps = _rounding(X)
    # Sums of products in single precision at least, each of as many terms as G has rows.
    sums = X.shape[-2] * float(torch.finfo(torch.promote_types(X.dtype, torch.float32)).eps)
    safety = min(SAFETY * eps + sums, MOST_SAFETY)
    if not adaptive:
        steps = _schedule(method, n_steps, rtol, float(lower), safety, eps > HALF)
        return _run(X, steps, eps, safety, columns=method == "turbo")
    X = _normalized(X, safety)[0]
    most = (n_steps or STEPS[method]) if rtol is None else MOST_STEPS
    return fitted(X, method, most, rtol, rng, safety)


def _rounding(X: Tensor) -> float:
    """Return eps of products: torch may be told to make those of single precision in less."""
    if X.dtype in (torch.float32, torch.complex64):
        return PRECISIONS[torch.get_float32_matmul_precision()]
    return float(torch.finfo(X.dtype).eps)


# -- scaling ---------------------------------------------------------------------------------


def _scaled(G: Tensor, check: bool) -> Tensor:
    """Return G with the largest entry of each matrix in [0.5, 1), by powers of two."""
    largest = G.abs().amax((-2, -1), keepdim=True)
    if check and not bool(torch.isfinite(largest).all()):
        raise InputError(
            "G must be finite; it has entries that are NaN or infinite. Skip this step, or clip."
        )
    limits = torch.finfo(G.dtype)
    _, exponent = torch.frexp(largest.to(torch.promote_types(largest.dtype, torch.float32)))
    top = math.frexp(limits.max)[1] - 1
    if limits.max < 1e6 and G.shape[-2] > HALF_ROWS:
        exponent = exponent + math.ceil(math.log2(G.shape[-2] / HALF_ROWS) / 2)
    exponent = exponent.clamp(-top, top)
    exponent = torch.where(largest > 0, exponent, 0)
    return G / torch.exp2(exponent.to(torch.float64)).to(largest.dtype)


def _normalized(X: Tensor, safety: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return X with ``||X||_2 <= 1``, ``S = X^H X`` and ``S S``."""
    S = X.mH @ X
    unit = _positive(_frobenius(S)) / S.shape[-1] ** 0.5  # so that S S stays in range
    S = S / unit.to(S.dtype)
    squared = S @ S
    rows = squared.abs().sum(-1, keepdim=True, dtype=unit.dtype).amax(-2, keepdim=True)
    c = _positive(torch.minimum(_frobenius(squared), rows)) ** 0.25 * (1.0 + safety)
    S, squared = S / (c**2).to(S.dtype), squared / (c**4).to(S.dtype)
    return X / (c * unit.sqrt()).to(X.dtype), S, squared


def _frobenius(S: Tensor) -> Tensor:
    """Return norms in single precision or better."""
    wide = torch.promote_types(S.dtype, torch.float32)
    return torch.linalg.vector_norm(S, dim=(-2, -1), keepdim=True, dtype=wide)


def _positive(c: Tensor) -> Tensor:
    return torch.where(c == 0, 1.0, c)


def _balanced(X: Tensor, safety: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return X with its columns scaled so that ``||X||_2 <= 1``, and as ``_normalized``."""
    S = X.mH @ X
    sizes = S.abs()
    sums = _positive(sizes.sum(-2, dtype=torch.promote_types(sizes.dtype, torch.float32)))
    d = (1.0 / (sums.sqrt() * (1.0 + safety))).to(S.dtype)
    S = d[..., :, None] * S * d[..., None, :]
    return X * d[..., None, :], S, S @ S


# -- fixed steps -----------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _schedule(
    method: str, n_steps: int | None, rtol: float | None, lower: float, safety: float, half: bool
) -> tuple[Step, ...]:
    """Return the steps of a method that knows them beforehand."""
    if rtol is None:
        n_steps = STEPS[method] if n_steps is None else n_steps
        return tuple(QUINTIC.step(*row) for row in _rows(method, n_steps, lower, safety, half))
    for count in range(1, MOST_STEPS + 1):
        rows = _rows(method, count, lower, safety, half)
        low, high = lower, 1.0
        for row in rows:
            low, high = quintic_interval(row, low, high)
        if max(1.0 - low, high - 1.0) <= rtol:
            return tuple(QUINTIC.step(*row) for row in rows)
    raise InputError(
        f"method {method!r} does not bring singular values from lower={lower:g} on to within "
        f"rtol={rtol:g} of 1 in {MOST_STEPS} steps. Use method='polar_express'."
    )


def _rows(method: str, n_steps: int, lower: float, safety: float, half: bool) -> Coefs:
    if method == "polar_express":
        cushion = CUSHION if half else 0.0
        return tuple(polar_express(lower, n_steps, safety=1.0 + safety, cushion=cushion))
    table = TABLES[method]
    rows = (*table, *[table[-1]] * n_steps)[:n_steps]
    if method not in ("cans", "turbo"):  # the others contract what is too large
        return rows
    s = 1.0 + safety
    return (*((a / s, b / s**3, c / s**5) for a, b, c in rows[:-1]), rows[-1])


def _run(X: Tensor, steps: tuple[Step, ...], eps: float, safety: float, *, columns: bool) -> Tensor:
    """Return X after the steps, in whichever form takes fewer products."""
    scale = _balanced if columns else _normalized
    X, S, squared = scale(X, safety)
    rows = X.shape[-2] / X.shape[-1]
    rounds = _rounds(steps, eps)
    # Products of the small side: of Gram matrices against those of X itself.
    if sum(2 * rows + 4 * len(some) - 3 for some in rounds) < len(steps) * (2 * rows + 1):
        return _run_gram(X, S, squared, rounds)
    o = FusedAlgebra(X)
    o.remember(X, S, squared)
    v = Variables(X, None, X)
    for step in steps:
        v = step(o, v)
    return v.X


def _run_gram(X: Tensor, S: Tensor, squared: Tensor, rounds: list[list[Step]]) -> Tensor:
    """Return X after the steps, each round on the Gram matrix of where X then is."""
    o = GramAlgebra(X)
    o.remember(S, S, squared)
    for k, steps in enumerate(rounds):
        v = Variables(Gram(X.mH @ X if k else S), None, None)
        for step in steps:
            v = step(o, v)
        X = X @ v.X.Q
    return X


def _rounds(steps: tuple[Step, ...], eps: float) -> list[list[Step]]:
    """Return the steps in rounds that amplify the rounding of a Gram matrix to AMPLIFIED."""
    rounds: list[list[Step]] = []
    amplified = math.inf
    for step in steps:
        slope = float(step.values[0]) ** 2
        if amplified * slope > AMPLIFIED:
            rounds.append([])
            amplified = eps
        rounds[-1].append(step)
        amplified *= slope
    return rounds


# -- the exact factor ------------------------------------------------------------------------


def _exact(X: Tensor) -> Tensor:
    """Return the polar factor by singular values, zero where they are."""
    wide = X.to(torch.promote_types(X.dtype, torch.float32))
    U, s, Vh = torch.linalg.svd(wide, full_matrices=False)
    floor = s[..., :1] * (max(X.shape[-2:]) * torch.finfo(wide.dtype).eps)
    kept = torch.where(s > floor, 1.0, 0.0).to(wide.dtype)
    return ((U * kept[..., None, :]) @ Vh).to(X.dtype)


# -- the door --------------------------------------------------------------------------------


def _checked(G: Any, method: str, n_steps: int | None, rtol: float | None, lower: float) -> str:
    """Return the method's name; raises InputError that names what is wrong."""
    if not isinstance(G, torch.Tensor) or not (G.is_floating_point() or G.is_complex()):
        found = G.dtype if isinstance(G, torch.Tensor) else type(G)
        raise InputError(f"G must be a tensor of floating-point numbers; got {found}.")
    if G.ndim < 2 or G.layout != torch.strided:
        raise InputError(
            f"G must be a dense matrix (m, n) or a batch of them; got shape {tuple(G.shape)}, "
            f"{G.layout}."
        )
    if method not in ("auto", "exact", *STEPS):
        raise InputError(f"method is one of auto, exact, {', '.join(STEPS)}; got {method!r}.")
    whole = isinstance(n_steps, int) and not isinstance(n_steps, bool)
    if n_steps is not None and not (whole and n_steps >= 1):
        raise InputError(f"n_steps must be a positive integer or None; got {n_steps!r}.")
    if rtol is not None and (n_steps is not None or not 0.0 < rtol < 1.0):
        raise InputError(f"rtol must lie in (0, 1), without n_steps; got {rtol!r}, {n_steps!r}.")
    if not 0.0 < lower < 1.0:
        raise InputError(f"lower must lie in (0, 1); got {lower!r}.")
    return "polar_express" if method == "auto" else method
