"""Scenes: what training looks at."""
