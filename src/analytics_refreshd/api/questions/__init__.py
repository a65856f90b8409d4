"""Questions that people name and keep, for their organization."""
