# Made by `jupyter otel-telemetry schema types`. Do not edit: `--check` compares it with the schemas.
"""Types of the events that cell-run, storage-full, submission. describe.

Annotate a log, `log: Events = EventLog(…)`, and a type checker knows the events that it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

if TYPE_CHECKING:
    from datetime import datetime

from typing_extensions import NotRequired, TypedDict


class CellRunV1Kernel(TypedDict):
    """An object."""

    name: NotRequired[str]
    id: NotRequired[str]


class CellRunV1(TypedDict):
    """Notebook cell run. A cell of a notebook was run."""

    path: str
    duration_ms: float
    kernel: NotRequired[CellRunV1Kernel]


class StorageFullV2(TypedDict):
    """Home directory is nearly full. A home directory has exceeded 90 % of its limit."""

    username: str
    used_bytes: int
    limit_bytes: int


class SubmissionV1(TypedDict):
    """Assignment submission. A student has handed in an assignment."""

    course: str
    assignment: str
    status: Literal["accepted", "late", "rejected"]
    submitter: NotRequired[str]
    points: NotRequired[float | None]


class Events(Protocol):
    """An `EventLog` that takes these events."""

    @overload
    def record_event(
        self,
        schema_id: Literal["https://example.org/examples/cell-run"],
        version: Literal[1, "1"],
        event: CellRunV1,
        timestamp_override: datetime | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    def record_event(
        self,
        schema_id: Literal["https://example.org/examples/storage-full"],
        version: Literal[2, "2"],
        event: StorageFullV2,
        timestamp_override: datetime | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    def record_event(
        self,
        schema_id: Literal["https://example.org/examples/submission"],
        version: Literal[1, "1"],
        event: SubmissionV1,
        timestamp_override: datetime | None = None,
    ) -> dict[str, Any] | None: ...
