"""Benchmarks: `tables` of a module measures on this machine and yields tables of figures, with units in their names.

>>> from waveglow.bench import synthesis
>>> for table in synthesis.tables(["lapglow"], forms=["folded", "bf16"], seconds=2.0):  # doctest: +SKIP
...     print(table.text())

Every figure is the median of several warm runs in one process, and the rows of a table take turns. Measure with nothing
else running. `waveglow bench` is the same as a command.
"""
