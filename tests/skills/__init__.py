"""Skills: granted by name, read on demand, withheld when they change."""
