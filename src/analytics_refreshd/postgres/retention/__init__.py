"""Deletes old rows of the action log, in portions, beside writers and refreshes."""
