"""A batch of entries becomes calls: rendering, hooks, and what cannot be rendered.

Runs in the sender's thread, outside every lock. One odd event never costs the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _process
from ._config import OpenPanelConfig
from ._diagnostics import Diagnostics, Message
from ._render import checked, to_rendered
from ._rendered import Built, Entry, RenderedCall, UnsendableError, place_of, source_at

__all__ = ["Batch", "render_batch", "tell_of_losses"]

_ON_PURPOSE = "before_send"
"""The reason of what a hook dropped: no loss, so nothing is said of it."""


@dataclass
class Batch:
    """What became of a batch.

    Attributes:
        calls: The calls to be sent, in order.
        unsendable: Generation and reason of each event that no call can be made of.
        lost: Those of them that ``on_drop`` is to be told of, as hooks see calls, with the reason.
        messages: What is to be said of all.
        last_error: What was wrong with the last of those that no call can be made of.
        left_out: How many extras were left out of calls that are sent.
    """

    calls: list[RenderedCall] = field(default_factory=list)
    unsendable: list[tuple[int, str]] = field(default_factory=list)
    lost: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    last_error: str | None = None
    left_out: int = 0


def render_batch(entries: Iterable[Entry], config: OpenPanelConfig) -> Batch:
    """Render events that were taken from the queue, in order."""
    batch = Batch()
    for entry in entries:
        built = None
        try:
            built = entry[0](entry[1])
            call = _render(built, entry, config)
        except UnsendableError as error:
            _give_up(batch, entry, built, error.reason, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours, or of somebody's formatter
            _give_up(batch, entry, built, "invalid", f"{type(error).__name__} was raised")
        else:
            batch.calls.append(call)
            if built.notes:
                batch.left_out += len(built.notes)
                name = f"{call.label} (logged at {call.source})"
                batch.messages.extend(
                    Message(f"note {note}", f"{name}: {note}") for note in built.notes
                )
    return batch


def _render(built: Built, entry: Entry, config: OpenPanelConfig) -> RenderedCall:
    _, data, generation = entry
    if config.before_send is not None:
        built = _ask(config.before_send, built)
    call = to_rendered(built, data, generation)
    size = len(call.body)
    if size > config.max_event_bytes:
        raise UnsendableError(
            "too_large",
            f"{call.label} has {size} bytes, more than max_event_bytes ({config.max_event_bytes})",
        )
    return call


def _ask(hook: Callable[[dict[str, Any]], Mapping[str, Any] | None], built: Built) -> Built:
    """Let ``before_send`` change a call."""
    try:
        with _process.speaking():
            line = hook(built.line())
    except BaseException as error:
        if _process.concerns_application(error):
            raise
        text = f"before_send raised {type(error).__name__}"
        raise UnsendableError("hook_failed", text) from error
    if line is None:
        raise UnsendableError(_ON_PURPOSE, "before_send dropped it")
    return checked(line)._replace(given=built.given)


def _give_up(batch: Batch, entry: Entry, built: Built | None, reason: str, words: str) -> None:
    batch.unsendable.append((entry[2], reason))
    if reason == _ON_PURPOSE:
        return
    if built is not None:
        batch.lost.append((built.line(), reason))
    text = f"an event logged at {source_at(place_of(entry[1]))} cannot be sent: {words}"
    batch.messages.append(Message(reason, text))
    batch.last_error = text


def tell_of_losses(
    hook: Callable[[dict[str, Any], str], object],
    lost: Iterable[tuple[dict[str, Any], str]],
    diagnostics: Diagnostics,
    deadline: float,
) -> None:
    """Hand each lost call to ``on_drop``, until a moment (monotonic clock)."""
    for line, reason in lost:
        if time.monotonic() >= deadline:
            diagnostics.say("on_drop", "there was no time left to tell on_drop of all losses")
            return
        try:
            with _process.speaking():
                hook(line, reason)
        except BaseException as error:
            if _process.concerns_application(error):
                raise
            diagnostics.say("on_drop", f"on_drop raised {type(error).__name__}")
