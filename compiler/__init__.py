"""Checked program to torch graphs."""
