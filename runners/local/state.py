"""Remember a stack between commands, in its `stack.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from tillstream.pipelines.errors import StackError
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.process import ProcessId
from tillstream.runners.local.sizes import SLOTS

__all__ = ["State"]


@dataclass
class State:
    """Hold what a stack is made of.

    Attributes:
        ports: by name.
        processes: by service.
        environment: variables that clients' configs refer to; no secrets.
        slots: of the TaskManager.
    """

    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, ProcessId] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    slots: int = SLOTS

    @classmethod
    def load(cls, layout: Layout) -> State:
        """Return a stack's state, empty if it was never started.

        Raises:
            StackError: if the file holds something else.
        """
        try:
            text = layout.state_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        try:
            data = json.loads(text)
            processes = {name: ProcessId(**identity) for name, identity in data["processes"].items()}
            return cls(
                dict(data["ports"]), processes, dict(data["environment"]), int(data.get("slots", SLOTS))
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StackError(
                f"{layout.state_file}: found {error!r}, expected what 'tillstream up' writes: remove the "
                f"file; 'tillstream down' then still finds the stack's processes"
            ) from error

    def save(self, layout: Layout) -> None:
        """Write the file whole or not at all."""
        part = layout.state_file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        part.replace(layout.state_file)
