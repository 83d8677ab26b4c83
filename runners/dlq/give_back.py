"""Give dead letters back to a client's running job, and wait for what becomes of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tillstream.configs import ClientConfig
from tillstream.io.codecs.base import codec_class
from tillstream.io.kafka_client import connection_settings, described
from tillstream.io.replays import ReplayMessage
from tillstream.io.sinks.letter_store import LetterStore, StoredLetter, marked, place_of
from tillstream.pipelines.errors import TransformError, UnavailableError, UserError
from tillstream.runners.dlq.originals import Original, read_again

__all__ = ["Outcome", "check_transform", "discard", "replay", "wait_for"]

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_PAUSE_S = 0.2
_SENDING = {
    "enable.idempotence": True,
    "delivery.timeout.ms": 30_000,
    "compression.type": "zstd",
    # The topic says what is too large, and all letters of a command may wait here at once.
    "message.max.bytes": 500_000_000,
    "queue.buffering.max.messages": 10_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
}


@dataclass
class Outcome:
    """Tell what became of letters.

    Attributes:
        sent: letters that the job was given, with the attempt that they were given by.
        refused: letters that cannot be given back, and why.
    """

    sent: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def check_transform(config: ClientConfig, letters: Iterable[StoredLetter], transform: str) -> None:
    """Raise TransformError where a transform cannot be applied to what these letters are of."""
    from tillstream.transforms.flows import flow_of, registry_of

    chosen = flow_of("", "", transform, registry_of(config))
    chosen_name = chosen.info.unversioned if chosen.info is not None else ""
    for stored in letters:
        entity = config.entities.get(stored.letter.entity or "")
        own = stored.letter.transform or (entity.transform if entity is not None else None)
        if own is None or own.split("@")[0] != chosen_name:
            raise TransformError(
                f"letter {stored.id[:12]} is of {own or 'no transform'}, expected another version of it than "
                f"{transform}"
            )
    if chosen.kind != "record":
        raise TransformError(
            f"transform {transform!r} is of kind {chosen.kind}, which is applied in a stage of its own: pin "
            "the version in the config, and replay without --transform"
        )


def replay(config: ClientConfig, letters: Sequence[StoredLetter], transform: str = "") -> Outcome:
    """Give letters back, in the order in which their records were read.

    Args:
        config: the client's.
        letters: to replay; those that are not open are left alone.
        transform: name and version to apply; empty for the job's own.

    Raises:
        UserError: if the client does not read from Kafka.
        UnavailableError: if the brokers do not answer.
    """
    _check_source(config)
    outcome = Outcome()
    _send(config, _messages(config, _open_ones(letters, outcome), outcome, "replay"), outcome, transform)
    return outcome


def discard(config: ClientConfig, store: LetterStore, letters: Sequence[StoredLetter]) -> Outcome:
    """Give letters up; a key that waits for one is let go by the job, and the others are marked here.

    Args:
        config: the client's.
        store: its dead letters.
        letters: to discard; those that are not open are left alone.

    Raises:
        UnavailableError: if the brokers do not answer.
    """
    outcome = Outcome()
    wanted = _open_ones(letters, outcome)
    holding = [each for each in wanted if _may_hold(config, each)]
    here = [each for each in wanted if not _may_hold(config, each)]
    now_us = time.time_ns() // 1000
    store.write_dead_letters([marked(each.letter, "discarded", "by hand", now_us) for each in here])
    if holding:
        _send(config, _messages(config, holding, outcome, "discard"), outcome, "")
    return outcome


def wait_for(
    store: LetterStore, outcome: Outcome, wait_s: float, pause: Callable[[float], None] = time.sleep
) -> dict[str, StoredLetter | None]:
    """Return each letter that was sent as soon as the job has said what became of all.

    Args:
        store: the client's dead letters.
        outcome: what was sent.
        wait_s: how long to wait, seconds.
        pause: called between looks.

    Returns:
        the letters by identity; None where nothing was heard in time.
    """
    end_s = time.monotonic() + wait_s
    heard: dict[str, StoredLetter | None] = dict.fromkeys(outcome.sent)
    while True:
        found = store.get([each for each in heard if heard[each] is None])
        heard |= {
            each: stored
            for each, stored in found.items()
            if stored.letter.attempt >= outcome.sent[each] or stored.letter.status != "open"
        }
        if None not in heard.values() or time.monotonic() >= end_s:
            return heard
        pause(_PAUSE_S)


def _check_source(config: ClientConfig) -> None:
    if config.source.kafka is None:
        raise UserError(
            f"{config.client} reads files, and each run of it reads them whole: mend the transform or the "
            "file, run `tillstream run` again, and discard the letters that are solved by it"
        )


def _open_ones(letters: Sequence[StoredLetter], outcome: Outcome) -> list[StoredLetter]:
    for stored in letters:
        if stored.letter.status != "open":
            outcome.refused[stored.id] = f"it is {stored.letter.status} already"
    return sorted((each for each in letters if each.letter.status == "open"), key=place_of)


def _may_hold(config: ClientConfig, stored: StoredLetter) -> bool:
    entity = config.entities.get(stored.letter.entity or "")
    holds = entity is not None and entity.on_error == "hold_key" and config.source.kafka is not None
    return holds and stored.letter.step == "transform" and stored.letter.reason != "held"


def _place(stored: StoredLetter) -> tuple[str, int, int]:
    return stored.letter.topic, stored.letter.partition, stored.letter.offset


def _messages(
    config: ClientConfig, letters: Sequence[StoredLetter], outcome: Outcome, action: str
) -> list[tuple[StoredLetter, ReplayMessage]]:
    """Return the messages of letters that have one, in their order."""
    found = read_again(config, [_place(each) for each in letters])
    made = [(each, _message(config, each, found.get(_place(each)), outcome, action)) for each in letters]
    return [(stored, message) for stored, message in made if message is not None]


def _message(
    config: ClientConfig,
    stored: StoredLetter,
    found: Original | None,
    outcome: Outcome,
    action: str,
) -> ReplayMessage | None:
    """Return the message of a letter; None, with the reason noted, where there is none."""
    letter = stored.letter
    message = ReplayMessage(
        stored.id,
        action,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.step,
        letter.entity,
        letter.index,
        letter.sink,
        seen=letter.attempt,
    )
    if letter.topic == config.replay_topic:
        outcome.refused[stored.id] = "it is no event, but a replay that could not be read: discard it"
        return None
    if found is not None:
        return _replaced(message, key=found.key, value=found.value, headers=found.headers)
    masked = bool(config.privacy.by_class) or any(entity.masks for entity in config.entities.values())
    saved = _replaced(
        message,
        key=letter.key,
        payload=letter.payload,
        position=letter.position,
        source_time_us=letter.source_time_us,
    )
    if letter.payload is None or masked:
        outcome.refused[stored.id] = _gone(stored, "may be masked" if masked else "is missing", action)
    elif letter.step == "read" and not codec_class(config.source.events.format).reads_headers:
        return _replaced(message, key=letter.key, value=letter.payload)
    elif letter.step == "transform" and (letter.position or action == "discard"):
        return saved
    else:
        outcome.refused[stored.id] = _gone(stored, "is not the whole event", action)
    return None


def _gone(stored: StoredLetter, why: str, action: str) -> str:
    letter = stored.letter
    place = f"{letter.topic}[{letter.partition}] no longer holds offset {letter.offset}"
    said = f"{place}, and the letter's payload {why}"
    if action == "discard":
        return (
            f"{said}: its key is let go when the entity's on_error is set to skip and the job launched again"
        )
    return f"{said}: change the row in the source, then discard the letter"


def _replaced(message: ReplayMessage, **changes: Any) -> ReplayMessage:
    import msgspec

    return msgspec.structs.replace(message, **changes)


def _send(
    config: ClientConfig,
    messages: Sequence[tuple[StoredLetter, ReplayMessage]],
    outcome: Outcome,
    transform: str,
) -> None:
    from confluent_kafka import KafkaError, KafkaException, Producer
    from confluent_kafka.admin import AdminClient

    from tillstream.io.sinks.kafka_topics import Wanted, ensure_topics

    if not messages:
        return
    settings = connection_settings(config.kafka, config.client)
    attempt = time.time_ns() // 1000
    failures: list[Any] = []

    def delivered(identity: str, error: Any, _: Any) -> None:
        if error is None:
            return
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            del outcome.sent[identity]
            outcome.refused[identity] = (
                f"it is too large for topic {config.replay_topic}: raise that topic's max.message.bytes"
            )
        else:
            failures.append(error)

    try:
        # One partition, so that letters come back in the order in which they are sent.
        ensure_topics(AdminClient(settings), [Wanted(config.replay_topic, 1)], None, _TIMEOUT_S)
        producer = Producer({**settings, **_SENDING}, logger=_log)
        for stored, message in messages:
            outcome.sent[stored.id] = attempt
            producer.produce(
                config.replay_topic,
                _replaced(message, transform=transform, attempt=attempt).encode(),
                key=message.key,
                on_delivery=partial(delivered, stored.id),
            )
            producer.poll(0)
        left = producer.flush(2 * _TIMEOUT_S)
    except KafkaException as error:
        raise UnavailableError(f"topic {config.replay_topic}: {described(error)}: {_CHECK}") from error
    if failures or left:
        said = failures[0].str() if failures else "no answer in time"
        raise UnavailableError(
            f"topic {config.replay_topic}: {len(failures) + left} of {len(messages)} letters were not taken: "
            f"{said}: {_CHECK}"
        )


_CHECK = (
    "check that the brokers run and that the client may create and write this topic; sending again is safe"
)
