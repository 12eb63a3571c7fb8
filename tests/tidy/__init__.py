"""The house style as failing tests: rules with their own seeds, run by `tests/test_tidy.py`."""
