"""Work units carried by worker processes, here or by Ray, with one rule for a broken work unit.

`run` plans, keeps the ledger and decides what is tried again. A fleet only carries work units to workers and their answers
back: `processes` of this machine, or actors of `ray`.
"""
