"""Functions of matrices for torch tensors. Importing it imports torch; ``import spectool`` not."""

from spectool.torch.functions import funm_multiply

__all__ = ["funm_multiply"]
