"""Examples: each runs offline and tells its story at the top."""
