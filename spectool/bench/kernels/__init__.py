"""The benchmark of recurrences: every format, precision, degree and width."""
