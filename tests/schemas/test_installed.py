import json
import logging

import pytest
from builders import schema

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.errors import PolicyError
from jupyter_otel_telemetry.schemas.installed import installed_files, installed_folders


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with schemas, which cannot be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, value=None, **schemas):
        folder = tmp_path / name / "event" / "schemas"
        folder.mkdir(parents=True)
        tmp_path.joinpath(name, "__init__.py").write_text("raise SystemExit('imported')")
        for file, document in schemas.items():
            folder.joinpath(f"{file}.json").write_text(json.dumps(document), encoding="utf-8")
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        points = f"[jupyter_otel_telemetry.schemas]\nany = {value or name + '.event.schemas'}\n"
        info.joinpath("entry_points.txt").write_text(points)
        return folder

    return install


@pytest.fixture
def share(tmp_path, monkeypatch):
    """Return a function that puts schemas into a folder for data of Jupyter."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "data"))

    def share(name, **schemas):
        folder = tmp_path / "data" / "event-schemas" / name
        folder.mkdir(parents=True)
        for file, document in schemas.items():
            folder.joinpath(f"{file}.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    return share


class TestPlaces:
    def test_entry_point_names_a_folder_of_its_package(self, install):
        """Which is not imported."""
        folder = install("shipping_package", a=schema())

        assert ("shipping_package", folder) in list(installed_folders())
        assert ("shipping_package", folder / "a.json") in list(installed_files())

    def test_data_folder_of_jupyter_has_a_folder_for_each_package(self, share):
        """Hidden ones are not taken."""
        folder = share("plain-data", a=schema())
        share(".hidden", a=schema())

        shared = [item for item in installed_folders() if item[1].parent == folder.parent]
        assert shared == [("plain-data", folder)]

    @pytest.mark.parametrize("value", ["no_such_package.schemas", "json.no_folder", "..", "a b"])
    def test_entry_point_that_leads_nowhere_is_ignored(self, value, install):
        """It must not harm other packages."""
        install("broken_package", value)

        names = {name for name, _ in installed_folders()}
        assert {"jupyterhub", "jupyter_server"} <= names
        assert value.partition(".")[0] not in names


class TestRegisterInstalledSchemas:
    def test_registers_those_that_match(self, install):
        """In which * stands for any text, and nothing else is special."""
        install("one_package", a=schema(), b=schema(id="https://example.org/other?"))
        log = EventLog()

        assert log.register_installed_schemas("https://example.org/other?") == [("https://example.org/other?", "1")]
        assert ("https://example.org/server-action", "1") in log.register_installed_schemas("https://example.org/*")

    def test_schemas_may_refer_to_each_other(self, install):
        """Of several packages."""
        install("user_package", user=schema(id="https://example.org/user", properties={}))
        install("referring_package", a=schema(properties={"user": {"$ref": "https://example.org/user"}}))
        log = EventLog(handlers=[logging.NullHandler()], allowed_schemas=["*"])
        log.register_installed_schemas("https://example.org/*")

        assert log.record_event("https://example.org/server-action", 1, {"user": {}}) is not None

    def test_bad_schema_costs_no_other(self, install, caplog):
        """It is another package's fault, and logged."""
        install("good_package", a=schema())
        folder = install("bad_package", a=schema(id="https://example.org/bad", type="strng"))
        log = EventLog()

        assert log.register_installed_schemas("https://example.org/*") == [("https://example.org/server-action", "1")]
        assert str(folder / "a.json") in caplog.text

    def test_pattern_without_a_match_is_logged(self, caplog):
        """It may be misspelt."""
        assert EventLog().register_installed_schemas("https://exmple.org/*") == []
        assert "no installed package ships one whose id matches https://exmple.org/*" in caplog.text


class TestKnownSchemas:
    def test_policy_of_a_handler_is_checked_against_them(self, install):
        """As those of JupyterHub are."""
        install("checked_package", a=schema())
        policy = {"https://example.org/server-action": {"withheld_properties": ["actoin"]}}

        with pytest.raises(PolicyError, match="did you mean 'action'"):
            OTLPHandler(allowed_schemas=policy)
