"""Benchmarks: the only place that performance figures come from."""
