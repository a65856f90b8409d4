"""The JSON log."""
