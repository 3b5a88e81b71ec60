"""The benchmark of f(A) b: honesty of its errors, rivals, size."""
