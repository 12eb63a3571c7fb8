"""The functional core: pure functions over values; no I/O, no clock, no await, nothing random."""
