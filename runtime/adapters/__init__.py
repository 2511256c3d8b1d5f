"""Compiled losses inside trainers of others: one module per host."""
