"""Define every error that tillstream raises.

TillstreamError
├── UserError                what a person can mend: the command ends with exit code 2
│   ├── ConfigError          a client's config, with file, line, field, found, expected
│   ├── MissingToolError     something the machine lacks (Java, an optional extra)
│   └── TransformError       an unknown or unusable transform
├── UnavailableError         a far side does not answer: retrying can cure it
│   ├── NoAnswerError        a request was sent, and nobody knows whether it was heeded
│   ├── StackError           a part of the local stack did not come up
│   └── SinkUnavailableError a sink's far side is gone or slow
├── SinkError                a sink refuses: retrying cannot cure it
│   ├── SequenceGapError     batches are missing between what a sink holds and what comes
│   └── StaleWriterError     a newer generation of the job has taken over
├── ErrorBudgetError         too many records were bad: the job stops itself
├── ExpectationError         an expectation of severity fail is broken: the job stops
├── SchemaFrozenError        changes outgrew a contract that the config froze: the job stops
└── RecordError              one record is bad: becomes a dead letter, never a crash
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ErrorBudgetError",
    "ExpectationError",
    "MissingToolError",
    "NoAnswerError",
    "RecordError",
    "SchemaFrozenError",
    "SequenceGapError",
    "SinkError",
    "SinkUnavailableError",
    "StackError",
    "StaleWriterError",
    "TillstreamError",
    "TransformError",
    "UnavailableError",
    "UserError",
]


class TillstreamError(Exception):
    """Be the base of all errors of this library."""


class UserError(TillstreamError):
    """Tell a person what to mend; the command line prints it without a traceback."""


class ConfigError(UserError):
    """Report all that is wrong with a client's config, one problem a line."""


class MissingToolError(UserError):
    """Name what the machine lacks and the command that installs it."""


class TransformError(UserError):
    """Name a transform that is unknown or cannot be used, and the known ones."""


class UnavailableError(TillstreamError):
    """Name an address that does not answer, and what to check; retrying can cure it."""


class NoAnswerError(UnavailableError):
    """Name who did not answer a request, which may or may not have been heeded."""


class StackError(UnavailableError):
    """Name the part of the local stack that did not come up, and its log."""


class SinkUnavailableError(UnavailableError):
    """Name the sink whose far side is gone or slow."""


class SinkError(TillstreamError):
    """Name what a sink refuses for good, and what to change."""


class SequenceGapError(SinkError):
    """Name the stream and the numbers between which batches are missing: records would be lost."""


class StaleWriterError(SinkError):
    """Name the generations of a writer and of the one that took over from it."""


class ErrorBudgetError(TillstreamError):
    """Say how many records were refused in how long, why, and what to do before the job is started again."""


class ExpectationError(TillstreamError):
    """Name the client, entity and expectation of severity fail that is broken, and the value at fault."""


class SchemaFrozenError(TillstreamError):
    """Name the table and the column that outgrew a frozen contract, and what to do."""


class RecordError(TillstreamError):
    """Say what is wrong with one record.

    Args:
        reason: a short stable name of the rule, in snake case; what dead letters are grouped by.
        detail: a sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
