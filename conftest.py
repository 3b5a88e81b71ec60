"""Doctests of what needs torch are collected where torch is installed only."""

from importlib.util import find_spec

collect_ignore = (
    []
    if find_spec("torch")
    else [
        "spectool/torch",
        "spectool/backends/torch_.py",
        "docs/how-to/torch.md",
        "docs/how-to/optimizers.md",
    ]
)
