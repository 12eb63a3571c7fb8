"""How models are asked: adapters for providers' dialects, retries, prices, and scripted models."""
