"""Predicts: machine costs, and convergence on the virtual operator."""

from spectool.planner.costs import Costs, cg_iteration, machine_costs
from spectool.planner.simulate import simulate_cg, virtual_operator

__all__ = ["Costs", "cg_iteration", "machine_costs", "simulate_cg", "virtual_operator"]
