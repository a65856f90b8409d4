"""Deletes old rows of the action log, beside writers and refreshes."""
