"""What the HTTP sink makes of a service's answers."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tillstream.io.sinks import Sink, Writer
from tillstream.pipelines.errors import SinkError, SinkUnavailableError

from .http_service import Misbehave, Request, Service, take
from .rig_http import HttpRig
from .sink_rigs import batch, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ONE, TWO, THREE = (1, "new", "1.00"), (2, "new", "2.00"), (3, "new", "3.00")


@pytest.fixture
def http(service: Service, monkeypatch: pytest.MonkeyPatch) -> HttpRig:
    """Return the sink's rig."""
    return HttpRig(service, monkeypatch)


@pytest.fixture
def opened(http: HttpRig) -> Iterator[Callable[..., Sink]]:
    """Return a function that opens a sink with some fields of its config."""
    sinks: list[Sink] = []

    def open_sink(**model: Any) -> Sink:
        sink = http.sink(**model)
        sink.open()
        sinks.append(sink)
        return sink

    yield open_sink
    for sink in sinks:
        sink.close()


def answering(status: int, **headers: str) -> Misbehave:
    """Return what answers with a status and takes nothing."""
    return lambda request: request.answer(status, "not now", **headers)


def take_then_hang_up(request: Request) -> None:
    """Take the rows, and close the connection before the answer."""
    request.apply()
    request.hang_up()


def take_then_break_off(request: Request) -> None:
    """Take the rows, and close the connection in the middle of the answer."""
    request.apply()
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"half of ")
    request.hang_up()


def test_a_request_says_what_it_carries(service: Service, opened: Callable[..., Sink]) -> None:
    """Path, headers and lines name client, entity and rows; a delete carries its key."""
    written(opened(), [batch("orders", ONE, (2,), offset=7)])
    (request,) = service.requests
    assert request.path == "/rows/orders"
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert (request.headers["Tillstream-Client"], request.headers["Tillstream-Entity"]) == ("acme", "orders")
    place = {"_topic": "acme.public.orders", "_partition": 0, "_index": 0}
    time_us = 1_760_000_000_000_007
    assert request.rows == [
        {"_op": "upsert", "_source_time_us": time_us, **place, "_offset": 7, "order_id": 1}
        | {"status": "new", "total": "1.00"},
        {"_op": "delete", "_source_time_us": time_us + 1, **place, "_offset": 8, "order_id": 2},
    ]


def test_a_body_may_be_an_array(service: Service, opened: Callable[..., Sink]) -> None:
    """With `body: array` the rows come as one JSON array."""
    written(opened(body="array"), [batch("orders", ONE, TWO)])
    assert service.requests[0].headers["Content-Type"] == "application/json"
    assert [row["order_id"] for row in service.requests[0].rows] == [1, 2]


def test_the_key_is_made_of_the_batchs_number(service: Service, http: HttpRig) -> None:
    """A numbered batch has its number in the key; an unnumbered one its place and content."""
    sink = http.sink(writer=Writer(5, 4, 1))
    sink.open()
    written(sink, [batch("orders", ONE, sequence=9, generation=5, first=9, shard=3)])
    written(sink, [batch("orders", ONE, offset=4)])
    written(sink, [batch("orders", TWO, offset=4)])
    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert keys[0] == '"acme/sink/5/orders/3/9/0.0-0.0"'
    assert keys[1].startswith('"acme/sink/orders/0/acme.public.orders/0/4.0-4.0/')
    assert keys[1] != keys[2]


@pytest.mark.parametrize("lose", [take_then_hang_up, take_then_break_off])
def test_a_lost_answer_doubles_nothing(
    service: Service, opened: Callable[..., Sink], http: HttpRig, lose: Misbehave
) -> None:
    """Rows that were taken, though the answer was lost, are sent again under the same key."""
    service.planned = [lose]
    written(opened(), [batch("orders", ONE)])
    assert len(service.requests) == 2
    assert http.log("orders") == [0]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_waited_for(
    service: Service, opened: Callable[..., Sink], http: HttpRig, status: int
) -> None:
    """A status that time can cure is tried again."""
    service.planned = [answering(status)]
    assert written(opened(), [batch("orders", ONE)]) == []
    assert http.log("orders") == [0]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(
    service: Service, opened: Callable[..., Sink], http: HttpRig, form: str
) -> None:
    """Nothing is sent before the time that the service asks for."""
    in_s = 2 if form == "date" else 1
    value = email.utils.formatdate(time.time() + in_s, usegmt=True) if form == "date" else str(in_s)
    service.planned = [answering(429, Retry_After=value)]
    start_s = time.monotonic()
    written(opened(), [batch("orders", ONE)])
    assert time.monotonic() - start_s > in_s - 1.1  # dates have whole seconds
    assert http.log("orders") == [0]
    if form == "seconds":
        assert time.monotonic() - start_s >= 1


def test_a_wait_beyond_the_retries_fails_at_once(service: Service, opened: Callable[..., Sink]) -> None:
    """A service that asks for more time than there is makes the job restart; the error says so."""
    service.planned = [answering(503, Retry_After="3600")]
    with pytest.raises(
        SinkUnavailableError, match=r"sink sink: no lasting answer from 127.0.0.1:\d+ .* left"
    ):
        written(opened(retry_s_max=10), [batch("orders", ONE)])


def test_a_slow_service_is_given_up(service: Service, opened: Callable[..., Sink]) -> None:
    """A service that does not answer within the timeout is an outage."""
    service.free.clear()
    with pytest.raises(SinkUnavailableError, match="ReadTimeoutError"):
        written(opened(timeout_s=1, retry_s_max=0), [batch("orders", ONE)])
    service.free.set()


def refusing(bad: set[int], status: int) -> Misbehave:
    """Return what refuses a request whole when a row of it is bad."""

    def judge(request: Request) -> None:
        if bad & {row["order_id"] for row in request.rows}:
            request.answer(status, "found a bad row")
        else:
            take(request)

    return judge


@pytest.mark.parametrize("status", [400, 413, 422])
def test_bad_rows_are_found_by_halving(
    service: Service, opened: Callable[..., Sink], http: HttpRig, status: int
) -> None:
    """Of a hundred rows two are refused; the others are taken, in order and once."""
    service.always = refusing({17, 80}, status)
    rows = [(number, "new", "1.00") for number in range(100)]
    letters = written(opened(), [batch("orders", *rows)])
    assert [(letter.offset, letter.reason) for letter in letters] == [
        (17, "refused_by_sink"),
        (80, "refused_by_sink"),
    ]
    assert letters[0].detail == f"it answered {status}: found a bad row"
    assert http.log("orders") == [number for number in range(100) if number not in {17, 80}]
    assert len(service.requests) < 40


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_refusal_of_all_rows_ends_the_job(
    service: Service, opened: Callable[..., Sink], status: int
) -> None:
    """What would refuse every row is no dead letter of each."""
    service.planned = [answering(status)]
    with pytest.raises(SinkError, match=f"refuses all requests: it answered {status}: not now: check"):
        written(opened(), [batch("orders", ONE)])
    assert len(service.requests) == 1


def test_a_redirect_is_refused(service: Service, opened: Callable[..., Sink]) -> None:
    """Rows and secret are not sent to where an answer points."""
    service.planned = [answering(307, Location="https://elsewhere.example/rows")]
    with pytest.raises(SinkError, match=r"sends elsewhere \(307 to 'https://elsewhere.example/rows'\)"):
        written(opened(), [batch("orders", ONE)])
    assert len(service.requests) == 1


def test_the_secret_goes_into_its_header(
    service: Service, opened: Callable[..., Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header's value is looked up when the sink opens."""
    monkeypatch.setenv("SHOP_TOKEN", "Bearer abc")
    written(opened(auth="${SHOP_TOKEN}", auth_header="X-Key"), [batch("orders", ONE)])
    assert service.requests[0].headers["X-Key"] == "Bearer abc"


def test_a_secret_that_fits_no_header_is_not_shown(
    opened: Callable[..., Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret with a line end is refused without being repeated."""
    monkeypatch.setenv("SHOP_TOKEN", "abc\r\nX-Evil: 1")
    with pytest.raises(SinkError) as caught:
        opened(auth="${SHOP_TOKEN}")
    assert "abc" not in str(caught.value)


def test_large_batches_are_cut(service: Service, opened: Callable[..., Sink], http: HttpRig) -> None:
    """No request has more rows than `rows_max`, and each has a key of its own."""
    rows = [(number, "new", "1.00") for number in range(7)]
    written(opened(rows_max=3), [batch("orders", *rows)])
    assert [len(request.rows) for request in service.requests] == [3, 3, 1]
    assert http.log("orders") == list(range(7))


def test_requests_keep_to_their_rate(service: Service, opened: Callable[..., Sink]) -> None:
    """Ten requests at fifty a second take no less than nine fiftieths."""
    sink = opened(requests_per_s_max=50)
    start_s = time.monotonic()
    for number in range(10):
        written(sink, [batch("orders", ONE, offset=number)])
    assert time.monotonic() - start_s >= 9 / 50
    assert len(service.requests) == 10


def test_a_failing_host_is_left_alone(service: Service, opened: Callable[..., Sink], http: HttpRig) -> None:
    """After some failures in a row nothing is sent for the pause; then it, and what else comes, goes on."""
    # One thread trips the breaker: an answer to another would count as a success in between.
    service.planned = [answering(500)] * 3
    sink = opened(failures_max=3, pause_s=1)
    start_s = time.monotonic()
    written(sink, [batch("orders", ONE)])
    assert time.monotonic() - start_s >= 1
    threads = [
        threading.Thread(target=written, args=(sink, [batch("orders", ONE, offset=offset)]))
        for offset in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(http.log("orders") or []) == [0, 1, 2]
    assert len(service.requests) == 6
