"""Engines: how work units reach the processes that run them.

The driver (`pipeline.engine`) plans, keeps the ledger and decides what is tried again. A fleet only carries
units to workers and their answers back: processes of this machine (`local`) or Ray actors (`cluster`).
"""
