"""Tools that a fleet writes in Python: functions of `tools/*.py`, performed by workers in rooms of their own."""
