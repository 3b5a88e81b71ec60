"""Functions of dense matrices, in batches, by matrix products: planned, adapted, or classical."""
