"""Muon and Shampoo on the conventions of ``torch.optim``.

Source
    Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); Liu et al.,
    arXiv:2502.16982 (2025) (its scale); Gupta, Koren and Singer, Shampoo, ICML 2018; Anil, Gupta,
    Koren, Regan and Singer, arXiv:2002.09018 (its damping); Loshchilov and Hutter, ICLR 2019
    (AdamW).
Deviations
    Muon orthogonalizes by ``orthogonalize``, Polar Express unless told otherwise. Shampoo damps
    relative to the largest eigenvalue, so that the scale of the loss drops out, and sides that are
    too long for a matrix have its diagonal.
Cost
    Muon: one ``orthogonalize`` per matrix and step, one copy of the parameters. Shampoo: two
    products per matrix and step, two inverse roots every ``update_freq`` steps, and four matrices
    of the orders of its sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from spectool.dense.algebra import Tensor
from spectool.errors import InputError
from spectool.torch.conventions import Optimizer, at_least
from spectool.torch.orthogonalize import Method, orthogonalize
from spectool.torch.roots import inverse_root

__all__ = ["Muon", "Shampoo"]


class Muon(Optimizer):
    """Momentum, orthogonalized: steps along the polar factor of each matrix's momentum.

    Parameters
    ----------
    params : iterable
        Matrices, or groups of them; more dimensions count as the rows' ``(d_0, d_1 d_2 ...)``, as
        for the kernels of convolutions. What is no matrix (biases, norms), and by custom embeddings
        and the last layer, goes into a group with ``use_muon=False``: AdamW, with that group's
        ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    lr : float
        Times ``sqrt(max(1, rows / columns))``, or as ``adjust_lr_fn`` says.
    weight_decay : float
        Parameters shrink by ``lr weight_decay`` per step.
    momentum : float
        In [0, 1): ``B <- momentum B + (1 - momentum) G``.
    nesterov : bool
        Whether to orthogonalize ``momentum B + (1 - momentum) G`` and not B.
    adjust_lr_fn : str, optional
        ``"original"``, as None, or ``"match_rms_adamw"``: times ``0.2 sqrt(max(rows, columns))``.
    method, n_steps : str, int
        Of `orthogonalize`.
    dtype : torch.dtype, optional
        In which it works, like ``torch.bfloat16``; that of the parameters.
    maximize : bool
        Whether to ascend.
    check : bool
        Whether to raise for gradients that are not finite, which waits for the device.
    use_muon, betas, eps
        See ``params``.

    Raises
    ------
    InputError
        If a parameter is no matrix where it must be, or an option is out of its range.

    Notes
    -----
    Names and defaults are those of ``torch.optim.Muon``; with ``method="muon"`` it does the same
    but for rounding and the scaling of G.

    References
    ----------
    .. [1] Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/

    Examples
    --------
    >>> import torch, spectool.torch
    >>> layer = torch.nn.Linear(3, 2)
    >>> optimizer = spectool.torch.Muon(
    ...     [{"params": [layer.weight]}, {"params": [layer.bias], "use_muon": False, "lr": 1e-3}],
    ...     lr=0.02,
    ... )
    >>> layer(torch.ones(1, 3)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        *,
        adjust_lr_fn: str | None = None,
        method: Method = "auto",
        n_steps: int | None = None,
        dtype: Any = None,
        maximize: bool = False,
        check: bool = True,
        use_muon: bool = True,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "adjust_lr_fn": adjust_lr_fn,
            "method": method,
            "n_steps": n_steps,
            "dtype": dtype,
            "maximize": maximize,
            "check": check,
            "use_muon": use_muon,
            "betas": betas,
            "eps": eps,
        }
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InputError for what a group cannot have."""
        at_least(group, 0.0, "eps")
        if not all(0.0 <= beta < 1.0 for beta in group["betas"]):
            raise InputError(f"betas must lie in [0, 1); got {group['betas']!r}.")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise InputError(
                "adjust_lr_fn is None, 'original' or 'match_rms_adamw'; got "
                f"{group['adjust_lr_fn']!r}."
            )
        for p in group["params"]:
            if group["use_muon"] and p.ndim < 2:
                raise InputError(
                    f"Muon is for matrices; got a parameter of shape {tuple(p.shape)}. Put it "
                    "into a group with use_muon=False: that does AdamW."
                )

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter, along a gradient that is to be descended."""
        lr = float(group["lr"])
        p.mul_(1.0 - lr * group["weight_decay"])
        if not group["use_muon"]:
            _adamw(p, grad, state, lr, group)
            return
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        momentum, buffer = group["momentum"], state["momentum_buffer"]
        buffer.lerp_(grad, 1.0 - momentum)
        moved = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
        factor = orthogonalize(
            moved.flatten(1),
            method=group["method"],
            n_steps=group["n_steps"],
            dtype=group["dtype"],
            check=False,
        )
        rows, columns = factor.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            lr *= 0.2 * math.sqrt(max(rows, columns))
        else:
            lr *= math.sqrt(max(1.0, rows / columns))
        p.add_(factor.reshape(p.shape), alpha=-lr)


class Shampoo(Optimizer):
    """Gradients between inverse roots of their second moments: ``L^(-1/4) G R^(-1/4)``.

    ``L`` is the sum of ``G G^T`` and R of ``G^T G`` over all steps.

    Parameters
    ----------
    params : iterable
        Parameters of any shape, or groups: vectors have one side, with exponent -1/2; more
        dimensions than two count as ``(d_0, d_1 d_2 ...)``.
    lr : float
        Learning rate.
    momentum : float
        In [0, 1), for preconditioned gradients, as in ``torch.optim.SGD``.
    weight_decay : float
        Parameters shrink by ``lr weight_decay`` per step.
    nesterov : bool
        Whether the momentum looks ahead.
    beta2 : float
        In (0, 1]. Below 1, L and R are averages with this memory, corrected for their start.
    eps : float
        Positive; added to L and R, relative to bounds of their largest eigenvalues.
    root : int, optional
        p of the exponents ``-1/p``: 4 for matrices and 2 for vectors if not given.
    update_freq : int
        Steps between two computations of the roots.
    max_preconditioner_dim : int
        Sides longer than that have the diagonal of L or R only.
    method : str
        Of `inverse_root`.
    maximize : bool
        Whether to ascend.
    check : bool
        Whether to raise for gradients that are not finite, which waits for the device.

    Raises
    ------
    InputError
        If an option is out of its range, or a parameter is complex.

    Notes
    -----
    Where the roots are those of this step, ``||L^(-1/4) G R^(-1/4)||_F <= sqrt(min(m, n))``,
    without the average. Longer steps come from roots that are old and do not know a new direction,
    or from rounding; they are cut to that length, unless ``root`` is given.

    With ``beta2=1`` steps shrink like ``t^(-1/2)``, as in Adagrad. For parameters in half precision
    L and R are in single.

    References
    ----------
    .. [1] Gupta, Koren and Singer, Shampoo, ICML 2018, Algorithm 1.

    Examples
    --------
    >>> import torch, spectool.torch
    >>> W = torch.nn.Parameter(torch.tensor([[3.0, 0.0], [0.0, 0.01]]))
    >>> optimizer = spectool.torch.Shampoo([W], lr=1.0, eps=1e-9)
    >>> (0.5 * W.square().sum()).backward()  # the gradient is W
    >>> optimizer.step()
    >>> [round(x, 3) for x in W.detach().diagonal().tolist()]
    [2.0, -0.99]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
        beta2: float = 1.0,
        eps: float = 1e-6,
        root: int | None = None,
        update_freq: int = 1,
        max_preconditioner_dim: int = 1024,
        method: str = "auto",
        maximize: bool = False,
        check: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "beta2": beta2,
            "eps": eps,
            "root": root,
            "update_freq": update_freq,
            "max_preconditioner_dim": max_preconditioner_dim,
            "method": method,
            "maximize": maximize,
            "check": check,
        }
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InputError for what a group cannot have."""
        at_least(group, math.ulp(0.0), "eps")
        at_least(group, 1, "update_freq", "max_preconditioner_dim")
        if group["root"] is not None:
            at_least(group, 1, "root")
        if not 0.0 < group["beta2"] <= 1.0:
            raise InputError(f"beta2 must lie in (0, 1]; got {group['beta2']!r}.")

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter, along a gradient that is to be descended."""
        lr = float(group["lr"])
        G = grad.reshape(len(p) if p.ndim else 1, -1)
        G = G.to(torch.promote_types(p.dtype, torch.float32))
        state["step"] = state.get("step", 0) + 1
        sides = [side for side in (0, 1) if G.shape[side] > 1] or [0]
        moved = G
        for side in sides:
            root = self._root(G, side, state, group, group["root"] or 2 * len(sides))
            if root.ndim == 1:
                moved = moved * (root[:, None] if side == 0 else root)
            else:
                moved = root @ moved if side == 0 else moved @ root
        if group["root"] is None:
            moved = _shortened(moved, sides, state["step"], group)
        if group["momentum"]:
            buffer = state.setdefault("momentum_buffer", torch.zeros_like(moved))
            buffer.mul_(group["momentum"]).add_(moved)
            moved = moved.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
        p.mul_(1.0 - lr * group["weight_decay"])
        p.add_(moved.reshape(p.shape).to(p.dtype), alpha=-lr)

    def _root(
        self, G: Tensor, side: int, state: dict[str, Any], group: dict[str, Any], p: int
    ) -> Tensor:
        """Add G to the second moments of one side; return their inverse root, or its diagonal."""
        name = ("left", "right")[side]
        G = G if side == 0 else G.mT
        diagonal = len(G) > group["max_preconditioner_dim"]
        moment = G.square().sum(-1) if diagonal else G @ G.mT
        beta, step = group["beta2"], state["step"]
        if name in state:
            state[name].mul_(beta).add_(moment, alpha=1.0 if beta == 1.0 else 1.0 - beta)
        else:
            state[name] = moment if beta == 1.0 else (1.0 - beta) * moment
        known: Tensor | None = state.get(f"{name}_root")
        if known is not None and (step - 1) % group["update_freq"]:
            return known
        if not state[name].any():  # no gradient yet: nothing to remember
            return G.new_ones(len(G))
        S = state[name] / (1.0 if beta == 1.0 else 1.0 - beta**step)
        if diagonal:
            root = (S + group["eps"] * S.max()).pow(-1.0 / p)
        else:
            root = inverse_root(
                S, p, eps=group["eps"], relative=True, method=group["method"], check=False
            )
        state[f"{name}_root"] = root
        return root


def _shortened(moved: Tensor, sides: list[int], step: int, group: dict[str, Any]) -> Tensor:
    """Return a step no longer than roots that know its gradient let it be."""
    # Loewner and Heinz: L >= c G G^T implies ||(G G^T)^(1/4) L^(-1/4)|| <= c^(-1/4).
    short, long = sorted(moved.shape)
    full = max(moved.shape[side] for side in sides) <= group["max_preconditioner_dim"]
    beta = group["beta2"]
    c = 1.0 if beta == 1.0 else (1.0 - beta) / (1.0 - beta**step)
    limit = math.sqrt((short if full else long) / c)
    norm = torch.linalg.vector_norm(moved)
    return moved * (limit / norm.clamp(min=limit))


def _adamw(
    p: Tensor, grad: Tensor, state: dict[str, Any], lr: float, group: dict[str, Any]
) -> None:
    """Do a step of AdamW; the decay is done."""
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
    first, second = group["betas"]
    state["step"] += 1
    state["exp_avg"].lerp_(grad, 1.0 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(grad, grad, value=1.0 - second)
    size = (state["exp_avg_sq"] / (1.0 - second ** state["step"])).sqrt_().add_(group["eps"])
    p.addcdiv_(state["exp_avg"], size, value=-lr / (1.0 - first ** state["step"]))
