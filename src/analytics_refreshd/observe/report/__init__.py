"""A report as HTML or CSV."""
