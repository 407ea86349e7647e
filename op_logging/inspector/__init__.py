"""A local stand-in for OpenPanel's server, for development, tests and the demo.

It answers ``/track`` as the open-source server (run as of August 2026) does, and keeps, in memory,
what that one would store. It never talks to any other host, and listens on loopback only.

It needs the extra: ``pip install "op-logging[inspector]"``.
"""

from __future__ import annotations

try:
    import uvicorn as _uvicorn  # noqa: F401 - says early and clearly what is missing
except ImportError as _error:
    _text = 'the stand-in needs its extra: pip install "op-logging[inspector]"'
    raise ImportError(_text) from _error

from ._answers import ReceivedCall
from ._app import Inspector
from ._server import InspectorServer, run
from ._store import Store, StoredEvent, StoredGroup, StoredProfile

__all__ = [
    "Inspector",
    "InspectorServer",
    "ReceivedCall",
    "Store",
    "StoredEvent",
    "StoredGroup",
    "StoredProfile",
    "run",
]
