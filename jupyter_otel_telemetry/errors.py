"""The errors of this package; each is also the built-in error a caller would catch."""

from __future__ import annotations

from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

from traitlets import TraitError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = [
    "ConfigurationError",
    "ConfigurationFileError",
    "PolicyError",
    "SchemaConflict",
    "SchemaNotRegistered",
    "SchemaSourceError",
    "TelemetryError",
    "UnknownOptionError",
    "configuring",
]


class TelemetryError(Exception):
    """Base class of all errors that this package defines."""


class SchemaNotRegistered(TelemetryError, ValueError):
    """No schema is registered under this id and version.

    `version` is None where a `$ref` names the schema, since a `$ref` cannot name a version; `wanted_by`
    is then the id of the schema that holds the `$ref`, and `wanted_by_source` its file or URL, if it has one.
    """

    def __init__(
        self,
        schema_id: str,
        version: str | None,
        known: Collection[tuple[str, str]],
        wanted_by: str | None = None,
        wanted_by_source: str | None = None,
    ) -> None:
        super().__init__(schema_id, version, known, wanted_by, wanted_by_source)
        self.schema_id, self.version, self.known = schema_id, version, known
        self.wanted_by, self.wanted_by_source = wanted_by, wanted_by_source

    def __str__(self) -> str:
        what = f"schema {self.schema_id!r}"
        if self.version is not None:
            what += f" version {self.version}"
        if self.wanted_by is not None:
            source = "" if self.wanted_by_source is None else f" (from {self.wanted_by_source})"
            what += f", to which a $ref of {self.wanted_by!r}{source} points,"
        return f"{what} is not registered; {self._hint()}"

    def _hint(self) -> str:
        if versions := sorted(version for schema_id, version in self.known if schema_id == self.schema_id):
            return f"registered versions: {', '.join(versions)}"
        close = get_close_matches(self.schema_id, sorted({schema_id for schema_id, _ in self.known}), n=1, cutoff=0.9)
        return "register it first" + (f", or did you mean {close[0]!r}?" if close else "")


class SchemaConflict(TelemetryError, ValueError):
    """Another schema is already registered under this id and version.

    `source` is the file or URL of the new schema, `registered_source` that of the other one; each is None if a
    mapping was registered.
    """

    def __init__(self, schema_id: str, version: str, difference: str, registered_source: str | None = None) -> None:
        super().__init__(schema_id, version, difference, registered_source)
        self.schema_id, self.version, self.difference = schema_id, version, difference
        self.registered_source = registered_source
        self.source: str | None = None

    def __str__(self) -> str:
        source = "" if self.source is None else f"{self.source}: "
        other = "" if self.registered_source is None else f", from {self.registered_source},"
        return (
            f"{source}schema {self.schema_id!r} version {self.version} is already registered{other} with other "
            f"content ({self.difference}); give the changed schema a new version"
        )


class SchemaSourceError(TelemetryError, ValueError):
    """A file, folder or URL does not yield a schema.

    `problems` is a list: of a folder, a text for each file that was not registered, which names the file; else of
    `problem` alone.
    """

    def __init__(self, source: str, problem: str, problems: Sequence[str] = ()) -> None:
        super().__init__(source, problem, problems)
        self.source, self.problem, self.problems = source, problem, list(problems) or [problem]

    def __str__(self) -> str:
        lines = [f"no schema from {self.source}: {self.problem}"]
        return "\n".join(lines if self.problems == [self.problem] else [*lines, *self.problems])


def name_source(error: Exception, source: str | None) -> None:
    """Let an error name the file or URL of its schema, once; a `PolicyError` is about the configuration."""
    if source is None or isinstance(error, (SchemaSourceError, SchemaNotRegistered, PolicyError)):
        return
    if isinstance(error, SchemaConflict):
        error.source = source
    elif isinstance(message := getattr(error, "message", None), str):  # jsonschema's
        if not message.startswith(f"{source}: "):
            error.message = f"{source}: {message}"  # type: ignore[attr-defined]
    else:
        error.args = (f"{source}: {error}",)


class ConfigurationError(TelemetryError, TraitError, ValueError):
    """An option has no meaning. Traitlets applications report this error in one line, as they do any `TraitError`."""


class ConfigurationFileError(ConfigurationError, OSError):
    """A file or folder that an option names cannot be used."""


class UnknownOptionError(ConfigurationError, TypeError):
    """A handler has no option of this name."""


class PolicyError(ConfigurationError):
    """An option about privacy has no meaning, or names a schema's property that does not exist."""


@contextmanager
def configuring(owner: str) -> Iterator[None]:
    """Turn a `ValueError` or `OSError` into a `ConfigurationError` that names whose options are wrong."""
    try:
        yield
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"{owner}: {error}") from error
    except OSError as error:
        raise ConfigurationFileError(f"{owner}: {error}") from error
