"""Mutants of the gate's modules, on demand: `python -m tests.mutation`."""
