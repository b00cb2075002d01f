"""Commands that are more than one room's work."""
