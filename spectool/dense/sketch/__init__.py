"""Methods that look at a sketch of the residual, and choose each step by what they see."""

from spectool.dense.sketch.hybrid import Hybrid
from spectool.dense.sketch.minimax import KrylovMinimax
from spectool.dense.sketch.newton import PrismNewton
from spectool.dense.sketch.prism import Prism

__all__ = ["Hybrid", "KrylovMinimax", "Prism", "PrismNewton"]
