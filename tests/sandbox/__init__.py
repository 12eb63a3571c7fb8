"""Commands in their rooms: laws of the parts, real escapes, real limits."""
