"""The OpenAI chat dialect, which most providers and local servers speak."""
