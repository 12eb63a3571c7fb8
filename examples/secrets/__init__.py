"""Tools that a fleet brings with it: a Python function, and a small MCP server."""
