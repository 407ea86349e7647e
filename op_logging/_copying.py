"""What copies and pickles mean: plain values travel, what has threads behind it does not."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Rooted", "Value"]


class Value:
    """An immutable value that can be copied and pickled, read-only mappings and all."""

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: dict(value) if isinstance(value, MappingProxyType) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            found = MappingProxyType(value) if isinstance(value, dict) else value
            object.__setattr__(self, name, found)


class Rooted:
    """What has threads and connections behind it: each process makes its own.

    A deep copy is a copy: what is behind it stays one.
    """

    def __deepcopy__(self, _memo: object) -> Self:
        return copy.copy(self)

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled: it has threads, connections and a secret. "
            "Make one in each process, from its options"
        )
