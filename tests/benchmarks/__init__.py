"""Benchmarks: what the package costs, each figure beside a reference of the same run.

``python -m tests.benchmarks`` from the repository's root; see ``__main__`` for its options.
"""
