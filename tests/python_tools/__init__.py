"""Tools that a fleet writes in Python, performed by real workers in real rooms."""
