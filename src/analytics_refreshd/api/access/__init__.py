"""Who may ask, and for which organizations."""
