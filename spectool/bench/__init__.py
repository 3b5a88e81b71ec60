"""Benchmarks behind ``spectool bench`` and ``spectool demo``.

A suite (`suites`) names matrices (`problems`) and tasks (`tasks`); `measure` runs the contestants,
`run` walks through it all, `records` keeps the rows, `tables` and `report` show them. Nothing is
imported here, so that `machine.pin_blas` can act before numpy is loaded.
"""
