"""The verbs of the store, written once for every SQL dialect: one room for each noun, stacked into `Transaction`."""
