"""Alert rules and the alert lifecycle, as pure functions."""
