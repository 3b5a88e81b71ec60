"""Formats, precisions and blocked sweeps beside scipy and the roofline: `spectool bench kernels`.

Takes the same options; ``--tiny`` runs a 5 x 5 grid to see that everything works.
"""

from __future__ import annotations

import sys

from spectool.cli import app

if __name__ == "__main__":
    app(["bench", "kernels", *sys.argv[1:]])
