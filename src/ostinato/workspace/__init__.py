"""The folders and files that people write: read safely, checked with precise errors, made into values."""
