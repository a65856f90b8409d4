"""API keys, and what the role of the API may see."""
