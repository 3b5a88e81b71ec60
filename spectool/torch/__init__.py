"""Functions of matrices for torch tensors. Importing it imports torch; ``import spectool`` not."""

from spectool.torch.functions import funm_multiply
from spectool.torch.optimizers import Muon, Shampoo
from spectool.torch.orthogonalize import orthogonalize
from spectool.torch.roots import inverse_root

__all__ = ["Muon", "Shampoo", "funm_multiply", "inverse_root", "orthogonalize"]
