"""What traces are estimated with: Gauss quadrature on Lanczos runs, and test vectors used twice."""
