"""The incremental mode: capture, fold, rollups, verification."""
