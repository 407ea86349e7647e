"""A batch of captured events becomes calls: rendering, and what cannot be rendered.

Runs in the sender's thread, outside every lock. One odd event never costs the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ._diagnostics import Message
from ._rendered import Captured, RenderedCall, UnsendableError

__all__ = ["Batch", "render_batch"]


@dataclass
class Batch:
    """What became of a batch.

    Attributes:
        calls: The calls to be sent, in order.
        unsendable: Generation and reason of each event that no call can be made of.
        messages: What is to be said of both.
    """

    calls: list[RenderedCall] = field(default_factory=list)
    unsendable: list[tuple[int, str]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


def render_batch(events: Iterable[Captured], max_event_bytes: int) -> Batch:
    """Render events that were taken from the queue.

    Args:
        events: The events, in order.
        max_event_bytes: How large a body may be.
    """
    batch = Batch()
    for captured in events:
        try:
            call = _render(captured, max_event_bytes)
        except UnsendableError as error:
            _give_up(batch, captured, error.reason, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours, or of somebody's formatter
            _give_up(batch, captured, "invalid", f"{type(error).__name__} was raised")
        else:
            call.generation = captured.generation
            batch.calls.append(call)
            batch.messages.extend(
                Message(f"note {note}", f"{call.label} (logged at {call.source}): {note}")
                for note in call.notes
            )
    return batch


def _render(captured: Captured, max_event_bytes: int) -> RenderedCall:
    call = captured.render()
    size = len(call.body)
    if size > max_event_bytes:
        raise UnsendableError(
            "too_large",
            f"{call.label} has {size} bytes, more than max_event_bytes ({max_event_bytes})",
        )
    return call


def _give_up(batch: Batch, captured: Captured, reason: str, words: str) -> None:
    batch.unsendable.append((captured.generation, reason))
    text = f"an event logged at {captured.source} cannot be sent: {words}"
    batch.messages.append(Message(reason, text))
