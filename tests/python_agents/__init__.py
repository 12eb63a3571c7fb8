"""Agents whose work is done by functions."""
