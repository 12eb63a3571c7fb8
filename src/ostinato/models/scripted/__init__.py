"""Scripted models: a YAML script answers instead of a model, over real HTTP or in the process. No money is spent."""
