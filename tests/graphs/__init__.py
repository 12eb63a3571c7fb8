"""Graphs of others: their format read, their tasks performed in order."""
