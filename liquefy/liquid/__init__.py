"""Runs compiled services: whole web programs inside a host, their state in contexts. What the compiler emits imports
it."""
