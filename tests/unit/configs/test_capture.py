"""The capture section is checked with the rest of a config."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.configs.capture import Capture
from tillstream.configs.capture_checks import check_capture, prefix_and_table

SECTION = {"host": "h", "database": "d", "admin_user": "u"}


def problems(*topics: str, source: str = "kafka", **capture: Any) -> list[str]:
    """Return what is wrong with a config of such topics."""
    config = {
        "source": {source: {}},
        "entities": {f"e{number}": {"topic": topic} for number, topic in enumerate(topics)},
        "capture": {**SECTION, **capture},
    }
    return [f"{'.'.join(map(str, each.path))}: {each.text}" for each in check_capture(config)]


def test_topics_tell_the_tables() -> None:
    """A topic is `<prefix>.<schema>.<table>`; the prefix may have dots."""
    assert prefix_and_table("eu.shop.public.orders") == ("eu.shop", "public.orders")
    assert prefix_and_table("public.orders") is None
    assert prefix_and_table("shop.Public.orders") is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (problems("a.public.x", "a.public.y"), []),
        (problems("orders"), ["expected <prefix>.<schema>.<table>"]),
        (problems("a.public.x", "b.public.y"), ["expected the prefix of 'a.public.x'"]),
        (problems("a.public.x", source="files"), ["capture: found it without source.kafka"]),
        (problems("a.public.x", slot_lag_mb_alert=9, slot_lag_mb_max=9), ["found 9, expected less than"]),
        (problems("a.public.x", connector={"slot.name": "mine"}), ["found a property that tillstream sets"]),
    ],
)
def test_problems(found: list[str], said: list[str]) -> None:
    """Each problem names its field."""
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("https://connect:8083", {"connect_user": "u"}),
        ("http://127.0.0.1:8083", {"connect_user": "u"}),
        ("http://[::1]:8083", {"connect_user": "u"}),
        ("http://connect:8083", {}),
    ],
)
def test_a_login_may_go_over_https_or_nowhere(url: str, login: dict[str, str]) -> None:
    """Without a login plain http is a matter of taste."""
    assert Capture.model_validate({**SECTION, "connect_url": url, **login}).connect_url == url


@pytest.mark.parametrize(
    ("url", "login"),
    [("http://connect:8083", {"connect_user": "u"}), ("HTTP://u:s3cret@connect:8083", {})],
)
def test_no_login_crosses_a_network_in_the_open(url: str, login: dict[str, str]) -> None:
    """It is refused as a registry's is, and not told."""
    with pytest.raises(ValueError, match="found connect_url at http://connect, expected https") as found:
        Capture.model_validate({**SECTION, "connect_url": url, **login})
    assert "s3cret" not in str(found.value).split("[type=")[0]
