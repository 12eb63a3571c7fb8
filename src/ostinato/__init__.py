"""Ostinato, a runtime for fleets of AI agents that keep working when nobody is watching.

This module carries the version and loads nothing, so that `ostinato --version` stays quick.
"""

__version__ = "0.1.0"
