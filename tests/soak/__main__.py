"""``python -m tests.soak``: a million events, a thousand handlers."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.loopback import serving

from .run import handlers, stream


def main() -> None:
    """Run it, and print what the process held at each moment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--handlers", type=int, default=1_000)
    options = parser.parse_args()
    began = time.monotonic()
    with serving() as (plain, _):
        runs = (stream(plain.url, options.events, 10), handlers(plain.url, options.handlers, 5))
        for run in runs:
            for sample in run:
                print(f"{time.monotonic() - began:7.1f} s  {sample}", flush=True)


main()
