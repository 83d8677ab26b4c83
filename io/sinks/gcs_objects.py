"""Reach the objects of a bucket of Google Cloud Storage, and create each once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import requests
from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.oauth2 import service_account

from tillstream.configs import GcsSink
from tillstream.pipelines.errors import SinkError, SinkUnavailableError

__all__ = ["Objects"]

_LOG = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_FIRST_PAUSE_S = 0.2
_PAUSE_S_MAX = 5.0
# Of those that may pass; https://cloud.google.com/storage/docs/retry-strategy.
_PASSING = (
    api.TooManyRequests,
    api.ServerError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    auth.TransportError,
    DataCorruption,
)


class Objects:
    """Create, read and list objects, with bounded retries; calls that create name a generation, so are safe.

    A name is created by one caller only: the request carries `ifGenerationMatch=0`
    (https://cloud.google.com/storage/docs/request-preconditions). Contents are checked by CRC32C on the way
    there and back.

    Args:
        sink: its name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.

    Raises:
        SinkError: if there are no usable credentials.
    """

    def __init__(self, sink: str, client: str, model: GcsSink) -> None:
        self._sink = sink
        self._model = model
        options = {"api_endpoint": model.endpoint} if model.endpoint else None
        try:
            self._client = storage.Client(
                project=None, credentials=self._credentials(client), client_options=options
            )
        except auth.GoogleAuthError as error:
            raise self._refusal(error) from error
        self._bucket = self._client.bucket(model.bucket)
        retry = Retry(
            predicate=_may_pass,
            initial=_FIRST_PAUSE_S,
            maximum=_PAUSE_S_MAX,
            timeout=model.retry_s_max,
            on_error=self._warn,
        )
        self._call: dict[str, Any] = {"retry": retry, "timeout": model.timeout_s}

    def create(self, name: str, content: bytes) -> bool:
        """Create an object, unless one of that name is there; return whether it was not.

        False also where this very call created it, and the answer was lost.

        Raises:
            SinkUnavailableError: if the service does not answer, after bounded retries.
            SinkError: if it refuses.
        """
        blob = self._bucket.blob(name)

        def create() -> bool:
            try:
                blob.upload_from_string(
                    content,
                    content_type="application/octet-stream",
                    if_generation_match=0,
                    checksum="crc32c",
                    **self._call,
                )
            except api.PreconditionFailed:
                return False
            return True

        return self._translated(create)

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None where there is none; raises as `create` does."""
        blob = self._bucket.blob(name)

        def read() -> bytes | None:
            try:
                content: bytes = blob.download_as_bytes(checksum="crc32c", **self._call)
            except api.NotFound:
                return None
            return content

        return self._translated(read)

    def names(self, prefix: str, start: str = "", most: int | None = None) -> list[str]:
        """Return names that begin with `prefix`, from `start` on, in order; raises as `create` does."""

        def names() -> list[str]:
            found = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                start_offset=start or None,
                max_results=most,
                fields="items(name),nextPageToken",
                **self._call,
            )
            return [blob.name for blob in found]

        return self._translated(names)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _credentials(self, client: str) -> Any:
        if self._model.credentials is not None:
            key = self._model.credentials.resolve(client)
            try:
                return service_account.Credentials.from_service_account_info(json.loads(key))
            except (ValueError, TypeError, AttributeError):
                # Without its cause, which may show the key.
                raise SinkError(
                    f"sink {self._sink}: found no service account's key behind {self._model.credentials!r}, "
                    "expected the JSON file that Google gave out"
                ) from None
        if self._model.endpoint is not None and self._model.endpoint.startswith("http:"):
            return AnonymousCredentials()
        return None

    def _warn(self, error: Exception) -> None:
        _LOG.warning("sink %s (%s): %s; trying again", self._sink, self._place, error)

    def _translated(self, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except (*_PASSING, api.GoogleAPIError, auth.GoogleAuthError) as error:
            cause = error.cause if isinstance(error, api.RetryError) else error
            if not _may_pass(cause):
                raise self._refusal(cause) from error
            raise SinkUnavailableError(
                f"sink {self._sink}: no lasting answer from {self._place} within "
                f"{self._model.retry_s_max} s: {cause}: check that it can be reached from here"
            ) from error

    def _refusal(self, error: object) -> SinkError:
        return SinkError(
            f"sink {self._sink}: {self._place} refuses: {error}: check that the bucket is there, and that "
            "the job's account may create, get and list its objects"
        )

    @property
    def _place(self) -> str:
        return f"{self._model.endpoint or 'Google Cloud Storage'}, bucket {self._model.bucket}"


def _may_pass(error: object) -> bool:
    is_slow = isinstance(error, api.GoogleAPICallError) and error.code == HTTPStatus.REQUEST_TIMEOUT
    return is_slow or isinstance(error, _PASSING)
