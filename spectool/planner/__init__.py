"""Predicts: machine costs, and convergence on the virtual operator."""

from spectool.planner.costs import OperatorCosts, machine_costs, operator_costs
from spectool.planner.simulate import VirtualOperator, sampled

__all__ = [
    "OperatorCosts",
    "VirtualOperator",
    "machine_costs",
    "operator_costs",
    "sampled",
]
