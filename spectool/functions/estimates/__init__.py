"""How wrong a Krylov approximation is, from its small matrix alone."""
