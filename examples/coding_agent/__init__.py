"""A coding agent of another make, played by a small program."""
