"""One broken feature per fault test: the proof that each of those tests can fail."""
