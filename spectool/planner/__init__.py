"""Predicts: machine costs, and convergence on the virtual operator. Searches: for sequences."""

from spectool.planner.costs import OperatorCosts, machine_costs, operator_costs, single_costs
from spectool.planner.decisions import Environment, Range, SearchResult, Settings, Transition
from spectool.planner.mcts import search
from spectool.planner.simulate import VirtualOperator, chebyshev_bound, sampled

__all__ = [
    "Environment",
    "OperatorCosts",
    "Range",
    "SearchResult",
    "Settings",
    "Transition",
    "VirtualOperator",
    "chebyshev_bound",
    "machine_costs",
    "operator_costs",
    "sampled",
    "search",
    "single_costs",
]
