"""``python -m tests.chaos``: run it for long."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from .run import Chaos


def main() -> None:
    """Run one chaos after the other, each with a seed of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of it")
    parser.add_argument("--each", type=float, default=5.0, help="seconds of logging in each run")
    parser.add_argument("--seed", type=int, default=None, help="of the first; default: by chance")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        print(f"seed {seed}: ", end="", flush=True)
        print(Chaos(seed, options.each).run(), flush=True)
        seed += 1


main()
