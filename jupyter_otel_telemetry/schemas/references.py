"""The targets of a `$ref`: the schema itself and other registered ones, never the network."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin

import jsonschema
from jsonschema_specifications import REGISTRY as METASCHEMAS
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT4, DRAFT202012, specification_with

from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.schemas.keywords import REFERENCES, Path, subschemas, walk
from jupyter_otel_telemetry.schemas.metaschema import validator_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from referencing import Registry, Resource
    from referencing._core import Resolver  # which has no public name

__all__ = ["Document", "SchemaDocuments", "external_references"]

Document = dict[str, Any]


class SchemaDocuments:
    """A schema and the others that it reaches by `$ref`, as validators understand them.

    Args:
        document: the schema, which becomes `root`.
        needed: those that it reaches, by the URI that a `$ref` has for them.
        others: other versions of these, likewise; only their flags count.

    """

    def __init__(
        self,
        document: Document,
        needed: Mapping[str, Document],
        others: Mapping[str, Sequence[Document]] | None = None,
    ) -> None:
        self.root = _prepared(document)
        self.needed = {uri: _prepared(found) for uri, found in needed.items()}
        self.registry: Registry[Any] = METASCHEMAS.with_resources(
            (uri, _resource(found)) for uri, found in [*self.needed.items(), *_own_name(self.root)]
        )
        if any(any(_references(found)) for found in self):
            self.registry = self.registry.crawl()
        self._others: dict[str, list[tuple[Document, Registry[Any]]]] = {
            uri: [
                (other, self.registry.with_resource(uri, _resource(other)).crawl())
                for other in map(_prepared, versions)
            ]
            for uri, versions in (others or {}).items()
        }

    def __iter__(self) -> Iterator[Document]:
        yield self.root
        yield from self.needed.values()

    def with_all_versions(self) -> Iterator[Document]:
        """Yield the documents, also the other versions."""
        yield from self
        for versions in self._others.values():
            yield from (document for document, _ in versions)

    def by_uri(self) -> list[tuple[str, Document]]:
        """Return every document with its URI."""
        return [*self.needed.items(), *_own_name(self.root)]

    def missing(self, document: Document) -> list[str]:
        """Return the URIs that references of one of the documents name, and that are not here.

        Raises:
            jsonschema.SchemaError: a `$ref` points to a place that a document which is here does not have.

        """
        return list(dict.fromkeys(_unresolved(document, self.registry)))

    def resolver(self) -> Resolver[Any]:
        """Return the resolver for the references of the root."""
        return self.registry.resolver(str(self.root.get("$id", "")))

    def entered(self, subschema: Document, resolver: Resolver[Any]) -> Resolver[Any]:
        """Return the resolver for the references in a subschema, which may have a base URI of its own."""
        if "$id" not in subschema and "id" not in subschema:
            return resolver
        try:
            return resolver.in_subresource(_specification(self.root).create_resource(subschema))
        except (AttributeError, TypeError):  # as in _id_of
            return resolver

    def other_targets(self, reference: str, resolver: Resolver[Any]) -> list[tuple[Any, Resolver[Any]]] | None:
        """Return the targets of a reference in every version, or None if no registered schema has its id."""
        uri, fragment = urldefrag(urljoin(resolver._base_uri, reference))  # noqa: SLF001 - has no public name
        if reference.startswith("#") or uri not in self._others:
            return None
        targets = []
        # Also in the pinned one: the resolver may be that of another version through which the reference was reached.
        for registry in (self.registry, *(registry for _, registry in self._others[uri])):
            with suppress(Unresolvable, AttributeError, TypeError, ValueError):  # not every version has the place
                found = registry.resolver(uri).lookup(f"#{fragment}")
                targets.append((found.contents, found.resolver))
        return targets

    def dynamic_targets(self, keyword: str, reference: str) -> Iterator[tuple[Document, Resolver[Any]]]:
        """Yield whatever a `$dynamicRef` or `$recursiveRef` can mean, depending on the way that led to it."""
        anchor: tuple[str, object] = ("$recursiveAnchor", True)
        if keyword == "$dynamicRef":
            anchor = ("$dynamicAnchor", reference.partition("#")[2])
        others = [other for versions in self._others.values() for other in versions]
        for document, registry in [*((document, self.registry) for document in self), *others]:
            for _, base, subschema in _with_bases(document):
                if anchor in subschema.items():
                    yield subschema, registry.resolver(base)

    @property
    def are_all_2020_12(self) -> bool:
        """Whether all is of the draft in which `items` begins after `prefixItems`, embedded schemas too."""
        return all(
            _specification(subschema) is DRAFT202012
            for document in self.with_all_versions()
            for subschema in subschemas(document)
            if subschema is document or "$schema" in subschema
        )


def external_references(document: Document) -> list[str]:
    """Return the URIs of other documents that this schema's `$ref`s name.

    Raises:
        jsonschema.SchemaError: a `$ref` into the schema itself points to a place that does not exist.

    """
    documents = SchemaDocuments(document, {})
    return documents.missing(documents.root)


def _unresolved(document: Document, registry: Registry[Any]) -> Iterator[str]:
    checked = set(map(id, subschemas(document)))  # with the document
    seen: set[tuple[str, str]] = set()
    for path, base, reference in _references(document):
        if (base, reference) in seen:
            continue
        seen.add((base, reference))
        try:
            target = registry.resolver(base).lookup(reference).contents
            if id(target) not in checked:
                _check_target(document, path, reference, target)
                checked.add(id(target))
        except (
            Unresolvable,
            AttributeError,
            TypeError,
            ValueError,
        ):  # the latter: it points into a value that is not an object
            uri = base + reference if reference.startswith("#") else urljoin(base, reference)
            if urldefrag(uri).url in registry or reference.startswith("#"):
                raise jsonschema.SchemaError(
                    f"schema {document.get('$id')!r} has at {json_pointer(path)} a $ref to {reference!r}, "
                    "which does not exist; correct the $ref or add what it names"
                ) from None
            yield urldefrag(uri).url


def _check_target(document: Document, path: Path, reference: str, target: Any) -> None:
    """Check the target of a `$ref`: in an unknown keyword, such as $defs in draft 7, no meta-schema does."""
    try:
        validator_class(document).check_schema(target)
    except jsonschema.SchemaError as error:
        error.message = (
            f"schema {document.get('$id')!r} has at {json_pointer(path)} a $ref to {reference!r}, "
            f"which is not a valid JSON Schema: at {json_pointer(list(error.absolute_path))}, {error.message}"
        )
        raise


def _references(document: Document) -> Iterator[tuple[Path, str, str]]:
    """Yield every reference with its path and the base URI it is relative to."""
    for path, base, subschema in _with_bases(document, frozenset(REFERENCES)):
        for keyword in REFERENCES:
            if isinstance(reference := subschema.get(keyword), str):
                yield path, base, reference


def _with_bases(document: Document, having: frozenset[str] | None = None) -> Iterator[tuple[Path, str, Document]]:
    """Yield every subschema with its path and its base URI, or none if none has a keyword in `having`."""
    bases: dict[Path, str] = {(): str(document.get("$id") or "")}
    for path, subschema in walk(document, having):
        base = bases[()]
        if len(bases) > 1:
            base = next(bases[path[:end]] for end in range(len(path), -1, -1) if path[:end] in bases)
        if path and ("$id" in subschema or "id" in subschema) and (own := _id_of(document, subschema)):
            base = bases[path] = urljoin(base, own)
        yield path, base, subschema


def _id_of(document: Document, subschema: Document) -> str | None:
    try:
        return _specification(document).id_of(subschema)  # type: ignore[no-any-return]
    except AttributeError:  # no text, in a keyword that the draft does not know and so did not check
        return None


def _specification(document: Document) -> Any:
    metaschema = validator_class(document).META_SCHEMA
    return specification_with(metaschema.get("$id") or metaschema["id"])


def _resource(document: Document) -> Resource[Any]:
    return _specification(document).create_resource(document)  # type: ignore[no-any-return]


def _prepared(document: Document) -> Document:
    """Return a document as the validators understand it, itself if they do."""
    if _specification(document) is DRAFT4 and "$id" in document:
        document = {**document, "id": document["$id"]}  # the name that this draft knows
    if any(map(_has_mixed_dependencies, subschemas(document))):
        document = deepcopy(document)
        for subschema in filter(_has_mixed_dependencies, subschemas(document)):
            # referencing takes all of them for schemas if the first is one.
            subschema["dependencies"] = {
                name: {"required": wanted} if isinstance(wanted, list) else wanted
                for name, wanted in subschema["dependencies"].items()
            }
    return document


def _has_mixed_dependencies(subschema: Document) -> bool:
    dependencies = subschema.get("dependencies")
    return isinstance(dependencies, dict) and len({type(wanted) for wanted in dependencies.values()} - {bool}) > 1


def _own_name(document: Document) -> list[tuple[str, Document]]:
    return [(str(document.get("$id", "")), document)]
