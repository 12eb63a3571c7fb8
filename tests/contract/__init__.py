"""The contract of stores, over every store there is, and what is particular to each."""
