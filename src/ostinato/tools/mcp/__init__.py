"""Servers of the Model Context Protocol: what they offer becomes tools, under the same policy as any other."""
