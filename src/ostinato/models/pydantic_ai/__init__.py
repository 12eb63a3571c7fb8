"""Models through pydantic-ai's model layer, for providers that speak neither of our dialects (extra `pydantic-ai`)."""
