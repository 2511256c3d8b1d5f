"""Text to checked program. Never imports torch."""
