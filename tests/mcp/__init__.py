"""Servers of the Model Context Protocol: well-behaved, hostile and real ones."""
