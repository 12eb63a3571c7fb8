"""Deterministic simulation: one seed is one run of a whole fleet, its node, its store and everybody outside.

Nothing here knows real time, threads or the network, so that a run repeats bit for bit. `run.simulate(seed)` performs
one; `python -m ostinato.testing.simulation --seed N` tells it.
"""
