"""How agents reach the web: one guarded client, the tools that stand on it, and the way out of a sandbox."""
