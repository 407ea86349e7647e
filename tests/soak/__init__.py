"""Soak: a million events and a thousand handlers, while memory, threads and descriptors stay flat.

``python -m tests.soak`` runs it in full; the tests run a small part of it.
"""
