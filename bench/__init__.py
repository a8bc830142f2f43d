"""Benchmarks: `python -m bench NAME [--json]`. Each starts a cluster of its own and prints what it measured, with what
the figures depend on. They know the cluster as its users do; what they measure is in `docs/PERFORMANCE.md`.
"""
