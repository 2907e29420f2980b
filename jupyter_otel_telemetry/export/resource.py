"""The resource attributes of records: which program, of which version, where, and if wanted for whom."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import (
    HOST_ARCH,
    HOST_ID,
    HOST_NAME,
    PROCESS_EXECUTABLE_NAME,
    PROCESS_PARENT_PID,
    PROCESS_PID,
    PROCESS_RUNTIME_DESCRIPTION,
    PROCESS_RUNTIME_NAME,
    PROCESS_RUNTIME_VERSION,
    SERVICE_NAME,
    SERVICE_VERSION,
    ProcessResourceDetector,
    Resource,
)

from jupyter_otel_telemetry.names import SERVER_HASH, SERVER_NAME, USER_HASH, USER_NAME
from jupyter_otel_telemetry.privacy.pseudonyms import missing_key

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IDENTITIES", "check_resource", "hub_identity", "process_resource", "program_name", "program_resource"]

IDENTITIES: Final = ("name", "pseudonym")
"""How a server under JupyterHub may say whose it is."""

_UNKNOWN_SERVICE: Final = "unknown_service"
_DETECTORS_VARIABLE: Final = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
_USER_VARIABLE, _SERVER_VARIABLE = "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"

# Without values that can hold a secret or name a person: the command line, the owner, paths in a home directory.
_PROCESS_ATTRIBUTES: Final = (
    PROCESS_PID,
    PROCESS_PARENT_PID,
    PROCESS_EXECUTABLE_NAME,
    PROCESS_RUNTIME_NAME,
    PROCESS_RUNTIME_VERSION,
    PROCESS_RUNTIME_DESCRIPTION,
)
_HOST_ATTRIBUTES: Final = (HOST_NAME, HOST_ID, HOST_ARCH)
_HOST_ATTRIBUTES_OF_A_USER: Final = (HOST_ARCH,)  # a container or machine is often named after its user


def program_resource(service_name: str | None, resource: Resource | Mapping[str, Any] | None) -> Resource:
    """Describe the running program.

    Arguments win over `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, which win over detected values.
    Which detectors `OTEL_EXPERIMENTAL_RESOURCE_DETECTORS` names, if it is set, decides of host and process.

    Raises:
        ValueError: an argument is of a wrong type.

    """
    check_resource(service_name, resource)
    found: dict[str, Any] = {SERVICE_VERSION: version} if (version := _program_version()) else {}
    built = Resource(found).merge(_host_resource()).merge(process_resource()).merge(Resource.create())
    if str(built.attributes.get(SERVICE_NAME, "")).startswith(_UNKNOWN_SERVICE):
        built = built.merge(Resource({SERVICE_NAME: program_name()}))
    if resource is not None:
        built = built.merge(resource if isinstance(resource, Resource) else Resource(dict(resource)))
    if service_name is not None:
        built = built.merge(Resource({SERVICE_NAME: service_name}))
    return built


def check_resource(service_name: Any, resource: Any) -> None:
    """Check the types of the two arguments that describe a program.

    Raises:
        ValueError: one has a wrong type.

    """
    if service_name is not None and not isinstance(service_name, str):
        raise ValueError(f"service_name must be text, not {type(service_name).__name__}")
    if resource is not None and not isinstance(resource, (Resource, Mapping)):
        example = '{"deployment.environment.name": "test"}'
        raise ValueError(f"resource must be a mapping, not {type(resource).__name__}; write {example}")


def program_name() -> str:
    """Return the name of the running program, `jupyterhub` for instance, or of the module run by `python -m`."""
    if module := _main_module():
        return module.removesuffix(".__main__")
    stem = Path(sys.argv[0] if sys.argv else "").stem
    return stem if stem not in {"", "-", "-c"} else "python"


def _main_module() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return str(spec.name) if spec is not None and spec.name else ""


def _program_version() -> str | None:
    """Return the version of the running program's distribution, or None if it has none."""
    try:
        if module := _main_module():
            return version(module.partition(".")[0])
    except PackageNotFoundError:
        return None
    scripts = entry_points(group="console_scripts", name=program_name())
    return next((script.dist.version for script in scripts if script.dist is not None), None)


def process_resource() -> Resource:
    """Describe the running process, which is another one after a fork."""
    return _selected(ProcessResourceDetector, _PROCESS_ATTRIBUTES)


def _host_resource() -> Resource:
    wanted = _HOST_ATTRIBUTES_OF_A_USER if os.environ.get(_USER_VARIABLE) else _HOST_ATTRIBUTES
    # By its public name: the SDK's class for it is private.
    for detector in entry_points(group="opentelemetry_resource_detector", name="host"):
        return _selected(detector.load(), wanted)
    return Resource.get_empty()


def _selected(detector: Callable[[], Any], names: tuple[str, ...]) -> Resource:
    if os.environ.get(_DETECTORS_VARIABLE, "").strip():
        return Resource.get_empty()
    attributes = detector().detect().attributes
    return Resource({name: attributes[name] for name in names if name in attributes})


def hub_identity(identity: str | None, pseudonym: Callable[[Any], str] | None) -> dict[str, str]:
    """Return resource attributes that say whose server this is, where JupyterHub has started it.

    Args:
        identity: "name", "pseudonym", or None for no identity.
        pseudonym: makes the pseudonym of a name; wanted for "pseudonym" only.

    Raises:
        PolicyError: something makes no pseudonyms that should.

    """
    user, server = os.environ.get(_USER_VARIABLE), os.environ.get(_SERVER_VARIABLE, "")
    if identity is None or not user:
        return {}
    if identity == "name":
        return {USER_NAME: user, SERVER_NAME: server}
    if pseudonym is None:
        raise missing_key('identity "pseudonym"')
    return {USER_HASH: pseudonym(user), SERVER_HASH: pseudonym(server)}
