"""Files of this repository that are written from its code."""
