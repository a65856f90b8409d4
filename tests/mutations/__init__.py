"""Breakages of seams between modules and of SQL: the proof that the tests of these can fail."""
