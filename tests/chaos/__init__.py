"""Chaos: a server that misbehaves at random, and everything that may happen to a process at once.

``python -m tests.chaos --seconds 600`` runs for long; the tests run a few seconds of it.
"""
