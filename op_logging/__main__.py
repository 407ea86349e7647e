"""The command ``op-logging``, also ``python -m op_logging``.

Only reads the arguments and calls; prints errors as one line that says what, where and what to do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ._version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name; default: ``sys.argv[1:]``.

    Returns:
        The exit status: 0 if all went well, 1 if it did not, 2 for wrong arguments.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ImportError, ValueError, OSError) as error:
        print(f"op-logging {options.name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="op-logging", description="Product events for OpenPanel, from logging calls."
    )
    parser.add_argument("--version", action="version", version=f"op-logging {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="run a small shop that logs, and show what arrives; nothing leaves this machine",
        description="Starts a local stand-in for OpenPanel's server, runs a small program that "
        "logs, and prints what was stored, what was refused and why.",
    )
    demo.set_defaults(command=_demo)

    inspect = commands.add_parser(
        "inspect",
        help="a local stand-in for OpenPanel's server that prints what it gets",
        description="Answers /track as OpenPanel's server does, keeps what it would store, and "
        "prints each call. Point your program at it with OPENPANEL_API_URL.",
        epilog="example: op-logging inspect --port 3333 --profile-flush 10",
    )
    inspect.add_argument("--host", default="127.0.0.1", help="a loopback address (%(default)s)")
    inspect.add_argument("--port", type=_port, default=3333, help="0 takes any (%(default)s)")
    inspect.add_argument(
        "--client-id", help="accept this client only; default: any well-formed one"
    )
    inspect.add_argument("--client-secret", help="the secret of that client")
    inspect.add_argument(
        "--profile-flush",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="write profiles every so many seconds, as the real server does (10): shows how "
        "increments that come close together are lost (%(default)s: at once)",
    )
    inspect.set_defaults(command=_inspect)
    return parser


def _demo(_options: argparse.Namespace) -> int:
    from ._demo import run_demo  # noqa: PLC0415 - what a command needs is loaded by it alone

    return run_demo()


def _inspect(options: argparse.Namespace) -> int:
    from .inspector import Inspector, run  # noqa: PLC0415 - needs the extra

    inspector = Inspector(
        client_id=options.client_id,
        client_secret=options.client_secret,
        profile_flush=options.profile_flush,
    )
    run(options.host, options.port, inspector)
    return 0


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: use seconds, 0 or more")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
