"""What the optimizers have in common: checks, closures, and state in its own data type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from spectool.dense.algebra import Tensor
from spectool.errors import InputError

__all__ = ["Optimizer", "at_least"]


class Optimizer(torch.optim.Optimizer):
    """What both have in common: checks, closures, and state in its own data type."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; raises InputError for what the group cannot have."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        at_least(group, 0.0, "lr", "weight_decay")
        if not 0.0 <= group["momentum"] < 1.0:
            raise InputError(f"momentum must lie in [0, 1); got {group['momentum']!r}.")
        for p in group["params"]:
            if not p.is_floating_point():
                raise InputError(f"parameters must be real and floating; got {p.dtype}.")
        self.check_group(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; return what ``closure()`` returns, which is called with gradients enabled.

        Raises InputError, before anything has changed, for gradients that are sparse or, with
        ``check``, not finite.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        todo = [(p, group) for group in self.param_groups for p in group["params"]]
        todo = [(p, group) for p, group in todo if p.grad is not None and p.numel()]
        for p, group in todo:
            if p.grad.layout != torch.strided:
                raise InputError(
                    f"gradients must be dense; that of shape {tuple(p.shape)} is {p.grad.layout}. "
                    "Take torch.optim.SparseAdam for it."
                )
            if group["check"] and not bool(torch.isfinite(p.grad).all()):
                raise InputError(
                    f"the gradient of shape {tuple(p.shape)} is not finite. Skip this step, or "
                    "clip; check=False lets it pass."
                )
        for p, group in todo:
            self.update(p, -p.grad if group["maximize"] else p.grad, self.state[p], group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; its tensors keep their data types."""
        super().load_state_dict(state_dict)
        # The base class rounds to the data type of the parameter.
        names = [name for group in state_dict["param_groups"] for name in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for name, p in zip(names, params, strict=True):
            for key, value in state_dict["state"].get(name, {}).items():
                if isinstance(value, torch.Tensor):
                    self.state[p][key] = value.detach().to(p.device, copy=True)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise InputError for what a group cannot have."""
        raise NotImplementedError

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one parameter, along a gradient that is to be descended."""
        raise NotImplementedError


def at_least(group: dict[str, Any], smallest: float, *names: str) -> None:
    """Raise InputError for options of a group that are less, or not finite."""
    for name in names:
        if not smallest <= group[name] < math.inf:
            raise InputError(f"{name} must be finite, at least {smallest:g}; got {group[name]!r}.")
