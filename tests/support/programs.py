"""Programs that log, as real child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from .clients import CLIENT_ID, SECRET

PREAMBLE = """
import logging, os, sys
import op_logging
from op_logging import OpenPanelHandler
handler = OpenPanelHandler()
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(handler)
def log(name, **extra):
    logger.info(name, extra={"event": name, **extra})
"""


def start(
    tmp_path: Path,
    url: str,
    *code: str,
    environment: Mapping[str, str] | None = None,
    **options: str,
) -> subprocess.Popen[str]:
    """Start a program that logs."""
    path = tmp_path / "program.py"
    path.write_text(PREAMBLE + "\n".join(map(textwrap.dedent, code)))
    variables = {
        **os.environ,
        **(environment or {}),
        "OPENPANEL_CLIENT_ID": CLIENT_ID,
        "OPENPANEL_CLIENT_SECRET": SECRET,
        "OPENPANEL_API_URL": url,
        **{f"OPENPANEL_{name.upper()}": value for name, value in options.items()},
    }
    return subprocess.Popen(
        [sys.executable, str(path)],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    tmp_path: Path,
    url: str,
    *code: str,
    environment: Mapping[str, str] | None = None,
    **options: str,
) -> tuple[int, str, str]:
    """Run a program that logs; return its exit status, output and errors."""
    with start(tmp_path, url, *code, environment=environment, **options) as process:
        try:
            out, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, errors
