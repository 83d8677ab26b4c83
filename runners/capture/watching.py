"""Watch a capture's slot, and give it up where a person has said so."""

from __future__ import annotations

import time
from collections.abc import Callable

from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.capture import source
from tillstream.runners.capture.slots import Slot
from tillstream.runners.capture.spec import Capture, Place
from tillstream.runners.capture.status import Status, look

__all__ = ["follow", "is_abandoned"]


def follow(
    capture: Capture,
    place: Place,
    every_s: float,
    show: Callable[[Status], None],
    *,
    say: Callable[[str], None],
    drops: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look at a capture again and again, until interrupted.

    Args:
        capture: what is captured.
        place: where.
        every_s: time between looks, in seconds.
        show: takes each status.
        say: takes what does not answer.
        drops: whether a slot that is abandoned is dropped; its changes are lost, the server's disk is not.
        pause: called between looks.

    Raises:
        UserError: if the database or Connect refuses the login.
    """
    from contextlib import suppress

    was_idle = False
    with suppress(KeyboardInterrupt):
        while True:
            try:
                # Restarts are no alert: servers before Postgres 17 do not tell for how long nobody has read.
                found = look(capture, place, was_idle=was_idle)
                was_idle = found.slot is not None and not found.slot.is_active
                show(found)
                if drops and is_abandoned(found.slot, place.slot_max_bytes):
                    with source.opened(place.login) as connection:
                        source.drop_slot(connection, capture.slot)
                    show(look(capture, place))
            except UnavailableError as error:
                # What is away now is what a watcher waits for.
                say(str(error))
            pause(every_s)


def is_abandoned(slot: Slot | None, max_bytes: int) -> bool:
    """Tell whether a slot keeps too much log and nobody reads it; a slow reader is another matter."""
    return slot is not None and not slot.is_active and slot.retained_bytes > max_bytes
