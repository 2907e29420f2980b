"""Schemas from files, folders and URLs, whose content is a stranger's."""

import gzip
import hashlib
import io
import json
import re
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import jsonschema
import pytest
import yaml
from builders import ID, schema, serving, tls_context

from jupyter_otel_telemetry import SchemaNotRegistered, SchemaSourceError
from jupyter_otel_telemetry.schemas import downloads

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + below] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


class TestRegisterSchemaFile:
    @pytest.mark.parametrize("name", ["schema.yaml", "schema.json", "without-suffix"])
    def test_reads_yaml_and_json(self, event_log, tmp_path, name):
        """By content, not by name."""
        text = json.dumps(schema()) if name.endswith("json") else yaml.safe_dump(schema())
        (tmp_path / name).write_text(text)
        event_log.register_schema_file(str(tmp_path / name))
        event_log.register_schema_file(tmp_path / name)

        assert event_log.schemas[ID, 1] == schema()

    @pytest.mark.parametrize(
        "file", [io.StringIO(json.dumps(schema())), io.BytesIO(yaml.safe_dump(schema()).encode())]
    )
    def test_reads_open_files(self, event_log, file):
        """Text or bytes."""
        event_log.register_schema_file(file)

        assert event_log.schemas[ID, 1] == schema()

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
    def test_open_file_is_utf_8_whatever_the_locale(self, event_log, tmp_path, encoding):
        """In which `open` reads it: a name that is another one would lose its flag."""
        (tmp_path / "s.yaml").write_bytes(yaml.safe_dump(schema(properties={"é": {}}), allow_unicode=True).encode())
        with (tmp_path / "s.yaml").open(encoding=encoding) as file:
            event_log.register_schema_file(file)

        assert list(event_log.schemas[ID, 1]["properties"]) == ["é"]

    def test_open_file_may_really_have_another_encoding(self, event_log, tmp_path):
        """Which its opener knows."""
        (tmp_path / "s.yaml").write_bytes(
            yaml.safe_dump(schema(properties={"é": {}}), allow_unicode=True).encode("latin-1")
        )
        with (tmp_path / "s.yaml").open(encoding="latin-1") as file:
            event_log.register_schema_file(file)

        assert list(event_log.schemas[ID, 1]["properties"]) == ["é"]

    def test_json_numbers_are_json_numbers(self, event_log):
        """YAML 1.1 would take 1e5 for a text."""
        event_log.register_schema_file(io.StringIO(f'{{"$id": "{ID}", "version": 1, "maxProperties": 1e5}}'))

        assert event_log.schemas[ID, 1]["maxProperties"] == 1e5

    @pytest.mark.parametrize(
        "content, message",
        [
            (b"", "bad.yaml: empty"),
            (b"  \n", "bad.yaml: empty"),
            (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
            (b"- a\n- b", "a list, not a mapping"),
            (b"a: [1", "line 2, column 1: did not find expected ',' or ']'"),
            (b"a: 1\n---\nb: 2", "line 2, column 1: expected a single document"),
            (b"%YAML 1.1\n---\na: on", "line 1, column 1: expected YAML 1.2, got 1.1"),
            (b"[" * 200, "line 1, column 101: nested deeper than 100 levels"),
            (b"[" * 20_000, "line 1, column 10+1: (exceeded maximum nesting depth|nested deeper than 100 levels)"),
            (b"a: " + b"{a: " * 20_000, "nested deeper than 100 levels"),
            (b'{"a": ' * 101 + b"1" + b"}" * 101, "nested deeper than 100 levels"),
            (b"[" + b"1," * 100_000 + b"1]", "more than 100000 nodes"),
            (BOMB.encode(), "line 6, column .*: more than 100000 nodes once aliases are expanded"),
            (b"a: &a [*a]", "the alias \\*a stands inside its own anchor"),
            (b"x" * (1024 * 1024 + 1), "larger than 1024 KiB"),
            (b'"$id": x\nversion: 1\n1: 1', "line 3, column 1: expected text as key, got the int 1; quote it"),
            (b"a: " + b"9" * 5_000, "line 1, column 4: a number of 5000 characters; quote it if it is text"),
            (b'{"a": ' + b"9" * 5_000 + b"}", "line 1, column 7: a number of 5000 characters"),
            (b'{"a": 1e999}', "line 1, column 7: the number 1e999.* is beyond the range"),
        ],
    )
    def test_hostile_or_broken_content_ends_in_a_clear_error(self, event_log, tmp_path, content, message):
        """Quickly, naming the file."""
        (tmp_path / "bad.yaml").write_bytes(content)

        with pytest.raises(ValueError, match=message):
            event_log.register_schema_file(tmp_path / "bad.yaml")

        assert len(event_log.schemas) == 0

    def test_missing_file_is_named(self, event_log, tmp_path):
        """A folder is no file either."""
        with pytest.raises(SchemaSourceError, match=r"no-such-file.yaml: no such file"):
            event_log.register_schema_file(tmp_path / "no-such-file.yaml")
        with pytest.raises(SchemaSourceError, match="is a directory"):
            event_log.register_schema_file(tmp_path)

    def test_neither_path_nor_file_is_a_type_error(self, event_log):
        """A mapping belongs to register_schema."""
        with pytest.raises(TypeError, match="expected a path or an open file, got dict"):
            event_log.register_schema_file(schema())


BAD = {
    "SchemaSourceError": "- a",
    "SchemaConflict": yaml.safe_dump(schema(type="array")),
    "ValueError": yaml.safe_dump(schema(id="x", Pii=True)),
    "SchemaError": yaml.safe_dump(schema(id="x", type="strng")),
}


class TestErrors:
    @pytest.mark.parametrize("name, content", BAD.items())
    def test_name_the_file(self, server_log, tmp_path, name, content):
        """Whichever it is, by a path or an open file; its class and attributes stay."""
        path = tmp_path / "bad.yaml"
        path.write_text(content)
        with path.open() as file:
            for source in (path, file):
                with pytest.raises(Exception, match=str(path)) as error:
                    server_log.register_schema_file(source)
                assert type(error.value).__name__ == name

        assert list(server_log.schemas) == [(ID, "1")]

    def test_of_a_schema_keep_their_attributes(self, event_log, tmp_path):
        """Programs read them."""
        (tmp_path / "bad.yaml").write_text(BAD["SchemaError"])
        with pytest.raises(jsonschema.SchemaError) as error:
            event_log.register_schema_file(tmp_path / "bad.yaml")

        assert (list(error.value.absolute_path), error.value.validator) == (["type"], "anyOf")

    @pytest.mark.parametrize("name, content", BAD.items())
    def test_name_the_url(self, server_log, site, name, content):
        """Without its query."""
        site.answers["/s"] = (200, {}, content.encode())

        with pytest.raises(Exception, match=rf"{site.url}/…\S*: ") as error:
            server_log.register_schema_url(site.url + "/s?token=secret")

        assert (type(error.value).__name__, "secret" in str(error.value)) == (name, False)

    @pytest.mark.parametrize("file", [io.TextIOWrapper(io.BytesIO(b"a: \xff"), "utf-8"), "a\0b.yaml"])
    def test_of_reading_are_source_errors(self, event_log, file):
        """Another encoding, or a path that cannot be one."""
        with pytest.raises(SchemaSourceError):
            event_log.register_schema_file(file)

    def test_file_that_returns_little_at_a_time_is_read_whole(self, event_log):
        """As unbuffered files and pipes do; the rest may hold flags."""
        content = io.BytesIO(json.dumps(schema()).encode())
        event_log.register_schema_file(SimpleNamespace(read=lambda _size: content.read(7)))

        assert event_log.schemas[ID, 1] == schema()


class TestRegisterSchemas:
    def test_registers_everything_below_a_folder(self, event_log, tmp_path):
        """And returns what it registered, in the order of the paths."""
        (tmp_path / "sub").mkdir()
        (tmp_path / "b.json").write_text(json.dumps(schema(id="b")))
        (tmp_path / "sub" / "c.yml").write_text(yaml.safe_dump(schema(id="c")))
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(schema(id="a")))
        (tmp_path / "readme.md").write_text("no schema")

        assert event_log.register_schemas(tmp_path) == [("a", "1"), ("b", "1"), ("c", "1")]

    def test_bad_files_are_named_and_the_others_registered(self, event_log, tmp_path):
        """One bad file loses no other; each has a line of its own, and an item of `problems`."""
        (tmp_path / "good.yaml").write_text(yaml.safe_dump(schema()))
        (tmp_path / "bad.yaml").write_text("- a")
        (tmp_path / "invalid.yaml").write_text(yaml.safe_dump(schema(type="strng")))
        (tmp_path / "no-id.json").write_text('{"version": 1}')
        (tmp_path / "worse.json").write_text("{")

        with pytest.raises(SchemaSourceError, match="4 of 5 files cannot be registered") as error:
            event_log.register_schemas(tmp_path)

        assert (ID, 1) in event_log.schemas
        assert str(error.value).splitlines()[1:] == error.value.problems
        names = ["bad.yaml", "invalid.yaml", "no-id.json", "worse.json"]
        assert [problem.partition(": ")[0] for problem in error.value.problems] == [str(tmp_path / n) for n in names]

    def test_files_that_conflict_cost_no_other(self, event_log, tmp_path):
        """The first one, by its path, is registered, and both are named."""
        for name, version, kind in [("a", 1, "object"), ("b", 1, "array"), ("c", 2, "object"), ("d", 1, "object")]:
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(schema(version=version, type=kind)))

        with pytest.raises(SchemaSourceError) as error:
            event_log.register_schemas(tmp_path)

        assert list(event_log.schemas) == [(ID, "1"), (ID, "2")]
        assert event_log.schemas[ID, 1]["type"] == "object"
        conflict = rf"{tmp_path}/b.yaml: schema '{ID}' version 1 is already registered, from {tmp_path}/a.yaml, with"
        assert [re.match(conflict, problem) is not None for problem in error.value.problems] == [True]

    @pytest.mark.parametrize("names", ["abcd", "dcba"])
    def test_broken_reference_costs_no_other_file(self, event_log, tmp_path, names):
        """In any order of the paths: neither what it refers to nor what refers to it."""
        broken = {"$id": "broken", "version": 1, "properties": {"a": {"$ref": "target#/definitions/x"}}}
        referrer = {"$id": "referrer", "version": 1, "properties": {"a": {"$ref": "broken"}, "b": {"$ref": "target"}}}
        good = {"$id": "good", "version": 1, "properties": {"a": {"$ref": "target"}}}
        for name, document in zip(names, [broken, {"$id": "target", "version": 1}, referrer, good], strict=True):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
        with pytest.raises(SchemaSourceError) as error:
            event_log.register_schemas(tmp_path)

        place = f"{tmp_path}/{names[0]}.yaml: schema 'broken' has at /properties/a a $ref to 'target#/definitions/x'"
        assert [problem.startswith(place) for problem in error.value.problems] == [True]
        assert {schema_id for schema_id, _ in event_log.schemas} == {"target", "referrer", "good"}

    def test_later_version_with_a_broken_reference_is_not_meant(self, event_log, tmp_path):
        """References to its id mean the highest version that is registered."""
        (tmp_path / "user2.yaml").write_text("{$id: user, version: 2, properties: {a: {$ref: 'user1#/x'}}}")
        (tmp_path / "user1.yaml").write_text("{$id: user1, version: 1}")
        (tmp_path / "user.yaml").write_text("{$id: user, version: 1, type: string}")
        (tmp_path / "action.yaml").write_text("{$id: action, version: 1, properties: {user: {$ref: user}}}")
        with pytest.raises(SchemaSourceError, match="1 of 4 files"):
            event_log.register_schemas(tmp_path)

        assert event_log.record_event("action", 1, {"user": "ada"}) == {"user": "ada"}

    def test_missing_schema_is_named_with_the_file_that_wants_it(self, event_log, tmp_path):
        """At the event, since it may come until then."""
        (tmp_path / "a.yaml").write_text("{$id: a, version: 1, properties: {b: {$ref: b}}}")
        event_log.register_schemas(tmp_path)
        wanted = rf"'b', to which a \$ref of 'a' \(from {tmp_path}/a.yaml\) points, is not registered; register it"

        with pytest.raises(SchemaNotRegistered, match=wanted):
            event_log.record_event("a", 1, {})

    def test_hidden_files_and_folders_are_skipped(self, event_log, tmp_path):
        """What notebooks, editors and file systems leave there is not meant."""
        for name in (".ipynb_checkpoints/a.yaml", ".hidden.yaml", "._a.yaml", "sub/.git/a.json"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("- a")
        (tmp_path / "a.YAML").write_text(yaml.safe_dump(schema()))

        assert event_log.register_schemas(tmp_path) == [(ID, "1")]

    def test_folder_itself_may_be_hidden(self, event_log, tmp_path):
        """As ~/.jupyter is."""
        (tmp_path / ".jupyter").mkdir()
        (tmp_path / ".jupyter" / "a.yaml").write_text(yaml.safe_dump(schema()))

        assert event_log.register_schemas(tmp_path / ".jupyter") == [(ID, "1")]

    def test_files_of_a_config_map_are_found_once(self, event_log, tmp_path):
        """Kubernetes mounts links into a hidden folder, behind a hidden link, by which it swaps all at once."""
        real = tmp_path / "..2024_05_01_10_00_00.1"
        (real / "sub").mkdir(parents=True)
        (real / "a.yaml").write_text(yaml.safe_dump(schema(id="a")))
        (real / "sub" / "b.yaml").write_text(yaml.safe_dump(schema(id="b")))
        (tmp_path / "..data").symlink_to(real.name)
        (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
        (tmp_path / "sub").symlink_to("..data/sub")

        assert event_log.register_schemas(tmp_path) == [("a", "1"), ("b", "1")]

    def test_links_in_a_circle_end(self, event_log, tmp_path):
        """Every folder and file is read once."""
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(schema()))
        (tmp_path / "b.yaml").symlink_to("a.yaml")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "up").symlink_to("..")

        assert event_log.register_schemas(tmp_path) == [(ID, "1")]

    def test_link_to_nothing_is_a_bad_file(self, event_log, tmp_path):
        """Somebody meant a schema."""
        (tmp_path / "a.yaml").symlink_to("gone")

        with pytest.raises(SchemaSourceError, match=r"a\.yaml: no such file"):
            event_log.register_schemas(tmp_path)

    def test_folder_without_schemas_is_a_warning(self, event_log, tmp_path, caplog):
        """A volume that is not mounted looks like this."""
        (tmp_path / "readme.md").write_text("no schema")

        assert event_log.register_schemas(tmp_path) == []
        assert f"no schemas registered: no *.yaml, *.yml or *.json in {tmp_path}" in caplog.text

    def test_needs_a_folder(self, event_log, tmp_path):
        """A misspelt path must not pass for an empty folder."""
        with pytest.raises(SchemaSourceError, match="no such file or directory"):
            event_log.register_schemas(tmp_path / "missing")


class Site(BaseHTTPRequestHandler):
    """Answers by path; see `answers`."""

    answers: dict[str, object]

    def do_GET(self):
        self.server.requests.append(self)
        answer = self.server.answers[self.path.partition("?")[0]]
        if callable(answer):
            answer(self)
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def prepared(server):
    server.answers = {"/schema": (200, {}, json.dumps(schema()).encode())}
    server.requests = []
    return server


@pytest.fixture
def site():
    """Serve on loopback what a test puts into `answers`."""
    with serving(Site) as server:
        yield prepared(server)


@pytest.fixture
def tls_site(certificate):
    """The same over https."""
    with serving(Site, tls_context(certificate)) as server:
        yield prepared(server)


class TestRegisterSchemaUrl:
    def test_downloads_from_loopback(self, event_log, site):
        """Plain http is fine on this machine itself."""
        event_log.register_schema_url(site.url + "/schema")

        assert event_log.schemas[ID, 1] == schema()

    def test_digest_must_match_where_given(self, event_log, site):
        """And is then registered."""
        with pytest.raises(SchemaSourceError, match=r"SHA-256 is [0-9a-f]{64}, not the one given"):
            event_log.register_schema_url(site.url + "/schema", sha256="00" * 32)
        digest = hashlib.sha256(json.dumps(schema()).encode()).hexdigest()
        event_log.register_schema_url(site.url + "/schema", sha256=digest.upper())

        assert (ID, 1) in event_log.schemas

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.org/s.json",
            "http://localhost.example.org/s.json",
            "http://127.0.0.1.example.org/s.json",
            "http://0.0.0.0/s.json",
            "file:///etc/hostname",
            "ftp://example.org/s.json",
            "//example.org/s",
            "schema.json",
            "",
            "https://",
            "https://[::1",
            "https://example.org:port/",
        ],
    )
    def test_other_addresses_are_refused_before_any_connection(self, event_log, monkeypatch, url):
        """Only https, and http on loopback."""
        monkeypatch.setattr(downloads, "_download", lambda *_, **__: pytest.fail("it connected"))

        with pytest.raises(SchemaSourceError):
            event_log.register_schema_url(url)

    @pytest.mark.parametrize("target", ["http://example.org/", "file:///etc/hostname", "ftp://127.0.0.1/"])
    def test_redirect_to_what_is_not_allowed_is_refused(self, event_log, site, target):
        """A server cannot send us elsewhere."""
        site.answers["/r"] = (302, {"Location": target}, b"")

        with pytest.raises(SchemaSourceError, match=r"it redirects to|is not allowed"):
            event_log.register_schema_url(site.url + "/r")

    def test_redirect_on_loopback_is_followed_but_not_for_ever(self, event_log, site):
        """A loop ends."""
        site.answers["/r"] = (302, {"Location": "/schema"}, b"")
        site.answers["/loop"] = (302, {"Location": "/loop?x"}, b"")
        event_log.register_schema_url(site.url + "/r")

        with pytest.raises(SchemaSourceError):
            event_log.register_schema_url(site.url + "/loop")

    def test_credentials_are_sent_and_never_shown(self, event_log, site):
        """Neither user and password nor a token in the query are part of a message."""
        site.answers["/s"] = (404, {}, b"")
        url = site.url.replace("//", "//user:secret@") + "/s?token=secret"

        with pytest.raises(SchemaSourceError, match="the server answered 404") as error:
            event_log.register_schema_url(url)

        assert "secret" not in repr(error.value) + str(error.value)
        assert site.requests[0].headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
        assert error.value.__cause__ is None

    def test_content_that_is_no_schema_names_the_url(self, event_log, site):
        """Without what may be secret."""
        site.answers["/s"] = (200, {}, b"- a")

        with pytest.raises(SchemaSourceError, match=rf"no schema from {site.url}/…\?…: a list"):
            event_log.register_schema_url(site.url + "/s?token=x")

    def test_endless_content_is_cut_off(self, event_log, site):
        """One MiB is enough for any schema."""

        def endless(request):
            request.send_response(200)
            request.end_headers()
            while not site.released.is_set():
                request.wfile.write(b" " * 65536)

        site.answers["/s"] = endless

        with pytest.raises(SchemaSourceError, match="larger than 1024 KiB"):
            event_log.register_schema_url(site.url + "/s")

    @pytest.mark.parametrize("where", ["headers", "body"])
    def test_slow_server_is_given_up(self, event_log, site, monkeypatch, where):
        """The time limit is for the whole download, however the bytes trickle."""
        monkeypatch.setattr(downloads, "DOWNLOAD_TIMEOUT_S", 0.3)

        def trickle(request):
            request.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if where == "body" else b"X: "))
            while not site.released.wait(0.05):
                request.wfile.write(b"x")

        site.answers["/s"] = trickle

        with pytest.raises(SchemaSourceError, match=r"took longer than 0.3 seconds"):
            event_log.register_schema_url(site.url + "/s")

    @pytest.mark.parametrize("status", [201, 203, 206])
    def test_other_success_than_200_is_refused(self, event_log, site, status):
        """A part of a schema may lack its flags."""
        site.answers["/s"] = (status, {}, json.dumps(schema()).encode())

        with pytest.raises(SchemaSourceError, match=f"expected status 200, got {status}"):
            event_log.register_schema_url(site.url + "/s")

    @pytest.mark.parametrize(
        "head, body",
        [
            ("Content-Length: 4000", yaml.safe_dump(schema())),
            ("Content-Length: 4000", ""),
            ("Transfer-Encoding: chunked", f"{len(yaml.safe_dump(schema())):x}\r\n{yaml.safe_dump(schema())}\r\n"),
            ("Transfer-Encoding: chunked", f"fff\r\n{yaml.safe_dump(schema())}"),
        ],
    )
    def test_incomplete_answer_is_refused(self, event_log, site, head, body):
        """Less than its stated length, or chunks without the last one."""
        answer = f"HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n{body}"
        site.answers["/s"] = lambda request: request.wfile.write(answer.encode())

        with pytest.raises(SchemaSourceError, match=f"{site.url}/…: incomplete"):
            event_log.register_schema_url(site.url + "/s")
        assert len(event_log.schemas) == 0

    def test_answer_of_two_lengths_is_refused(self, event_log, site):
        """One of them is wrong: the rest may hold flags."""
        content = json.dumps(schema()).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nContent-Length: 4000\r\n\r\n".encode()
        site.answers["/s"] = lambda request: request.wfile.write(head + content)

        with pytest.raises(SchemaSourceError, match="the server states several lengths"):
            event_log.register_schema_url(site.url + "/s")

    def test_answer_without_length_needs_a_digest(self, event_log, site):
        """Where the connection ends, the schema may end or not."""
        content = json.dumps(schema()).encode()
        site.answers["/s"] = lambda request: request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)

        with pytest.raises(SchemaSourceError, match=r"does not state the length.*give sha256"):
            event_log.register_schema_url(site.url + "/s")
        event_log.register_schema_url(site.url + "/s", sha256=hashlib.sha256(content).hexdigest())
        assert (ID, 1) in event_log.schemas

    def test_unreachable_server_is_a_clear_error(self, event_log, site):
        """With the reason."""
        site.answers["/s"] = lambda request: request.connection.close()

        with pytest.raises(SchemaSourceError, match=rf"no schema from {site.url}/…: "):
            event_log.register_schema_url(site.url + "/s")

    def test_compressed_answer_is_no_surprise(self, event_log, site):
        """We do not ask for compression; a server that compresses all the same is refused."""
        site.answers["/s"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(schema()).encode()))

        with pytest.raises(SchemaSourceError, match="not UTF-8"):
            event_log.register_schema_url(site.url + "/s")

    def test_https_works_and_cannot_be_redirected_to_http(self, event_log, site, tls_site, certificate, monkeypatch):
        """Certificates are verified; a redirect off https is refused even to loopback."""
        tls_site.answers["/r"] = (302, {"Location": site.url + "/schema"}, b"")

        with pytest.raises(SchemaSourceError, match="CERTIFICATE_VERIFY_FAILED"):
            event_log.register_schema_url(tls_site.url + "/schema")
        monkeypatch.setenv("SSL_CERT_FILE", certificate.cert)
        with pytest.raises(SchemaSourceError, match="which is not allowed"):
            event_log.register_schema_url(tls_site.url + "/r")
        event_log.register_schema_url(tls_site.url + "/schema")

        assert (ID, 1) in event_log.schemas
        assert site.requests == []
