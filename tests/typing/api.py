"""How the package is used by typed code. Only type-checked, never run."""

from __future__ import annotations

import logging

from op_logging import (
    AssignGroup,
    DeliveryStats,
    EventFilter,
    Identify,
    OpenPanelClient,
    OpenPanelConfig,
    OpenPanelFormatter,
    OpenPanelHandler,
    OpenPanelProcessor,
    Track,
    flush,
)

handler = OpenPanelHandler(
    "id", "secret", level=logging.INFO, timeout=(1, 2), global_properties={"app": "shop"}
)
handler.setFormatter(OpenPanelFormatter("%(message)s", static_fields={"a": 1}))
handler.addFilter(EventFilter(event_key="analytics"))
done: bool = handler.flush(timeout=1.5)
stats: DeliveryStats = handler.stats()
accepted: int = stats.accepted
reasons: dict[str, int] = dict(stats.reasons)
client: OpenPanelClient = handler.client
taken: bool = client.submit(Track("seen", {"a": object()}, profile_id=7, groups=("g",)))
closed: bool = client.close() and handler.close(1) and flush(2)
config: OpenPanelConfig = OpenPanelConfig.from_options({"batch_size": "5"})
processors = [
    OpenPanelProcessor(track="all", keep=True, client=client),
    OpenPanelProcessor(track=["order_*"]),
    OpenPanelProcessor(track=lambda entry: entry.get("event")),
]
calls = [Identify("u1", email="a@b.co"), AssignGroup(["g1"])]

OpenPanelHandler(batch_siz=5)  # type: ignore[call-arg]
OpenPanelHandler(batch_size=[])  # type: ignore[arg-type]
Track(name=5)  # type: ignore[arg-type]
