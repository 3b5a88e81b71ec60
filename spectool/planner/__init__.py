"""Predicts: machine costs, and convergence on the virtual operator."""

from spectool.planner.costs import OperatorCosts, machine_costs, operator_costs
from spectool.planner.simulate import simulate_cg, virtual_operator

__all__ = [
    "OperatorCosts",
    "machine_costs",
    "operator_costs",
    "simulate_cg",
    "virtual_operator",
]
