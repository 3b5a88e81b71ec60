"""``python -m spectool``: the command line."""

from spectool.cli import app

if __name__ == "__main__":
    app()
