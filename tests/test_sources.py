"""Schemas from files, folders and URLs, whose content is a stranger's."""

import gzip
import hashlib
import io
import json
from http.server import BaseHTTPRequestHandler

import pytest
import yaml
from builders import ID, schema, serving, tls_context

from jupyter_otel_telemetry import SchemaSourceError
from jupyter_otel_telemetry.schemas import sources

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

    def test_json_numbers_are_json_numbers(self, event_log):
        """YAML 1.1 would take 1e5 for a text."""
        event_log.register_schema_file(io.StringIO(f'{{"$id": "{ID}", "version": 1, "maxProperties": 1e5}}'))

        assert event_log.schemas[ID, 1]["maxProperties"] == 1e5

    @pytest.mark.parametrize(
        "content, message",
        [
            (b"", "it is empty"),
            (b"  \n", "it is empty"),
            (b"\xff\xfe\x00", "it is not UTF-8 at byte 0"),
            (b"- a\n- b", "it holds a list, not a mapping"),
            (b"a: [1", "line 1"),
            (b"a: 1\n---\nb: 2", "expected a single document"),
            (b"a: !!python/object/apply:os.system ['echo x']", "could not determine a constructor"),
            (b"[" * 20_000, "nested deeper than 100 levels"),
            (b"a: " + b"{a: " * 20_000, "nested deeper than 100 levels"),
            (BOMB.encode(), "more than 100000 nodes once its aliases are expanded"),
            (b"a: &a [*a]", "alias \\*a stands inside its own anchor"),
            (b"x" * (1024 * 1024 + 1), "larger than 1024 KiB"),
            (b'"$id": x\nversion: 2020-01-01', "date, which JSON cannot hold at /version"),
            (b'"$id": x\nversion: 1\ntrue: 1', "keys must be strings"),
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
        with pytest.raises(TypeError, match="a path or an open file is wanted, not dict"):
            event_log.register_schema_file(schema())


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
        """One bad file loses no other."""
        (tmp_path / "good.yaml").write_text(yaml.safe_dump(schema()))
        (tmp_path / "bad.yaml").write_text("- a")
        (tmp_path / "worse.json").write_text("{")

        with pytest.raises(SchemaSourceError, match=r"2 bad files; bad\.yaml: .*; worse\.json: "):
            event_log.register_schemas(tmp_path)

        assert (ID, 1) in event_log.schemas

    def test_needs_a_folder(self, event_log, tmp_path):
        """A misspelt path must not pass for an empty folder."""
        with pytest.raises(SchemaSourceError, match="it is no folder"):
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
        monkeypatch.setattr(sources, "_download", lambda *_: pytest.fail("it connected"))

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

        with pytest.raises(SchemaSourceError, match=rf"no schema from {site.url}/…\?…: it holds a list"):
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
        monkeypatch.setattr(sources, "DOWNLOAD_TIMEOUT_S", 0.3)

        def trickle(request):
            request.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if where == "body" else b"X: "))
            while not site.released.wait(0.05):
                request.wfile.write(b"x")

        site.answers["/s"] = trickle

        with pytest.raises(SchemaSourceError, match=r"it took longer than 0.3 seconds"):
            event_log.register_schema_url(site.url + "/s")

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
