"""The command line: ``spectool demo``, ``spectool bench``, ``spectool spectrum``."""
