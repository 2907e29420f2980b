"""Pseudonyms are what their documentation says, so that others can make the same."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import subprocess
import sys

import pytest
from builders import ID
from hypothesis import given
from hypothesis import strategies as st

from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.privacy.pseudonyms import Pseudonymizer, canonical_json
from jupyter_otel_telemetry.testing import EventSink

KEY = b"a key of thirty-two bytes, or so"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some, max_size=3),
)


class TestPseudonymizer:
    @pytest.mark.parametrize("value", ["ada", "", "ünïcode", 'quoted "name"', 7, True, {"b": 1, "a": 2}])
    def test_is_hmac_sha_256_of_canonical_json(self, value):
        """In hexadecimal; a text has its quotes."""
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

        assert Pseudonymizer(KEY)(value) == hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()

    def test_null_stays_null(self):
        """Nobody is nobody."""
        assert Pseudonymizer(KEY)(None) is None

    def test_of_a_list_each_item(self):
        """So that a person is the same alone and among others."""
        pseudonymize = Pseudonymizer(KEY)

        assert pseudonymize(["ada", ["bob", None]]) == [pseudonymize("ada"), [pseudonymize("bob"), None]]

    @given(json_values)
    def test_never_fails(self, value):
        """NaN, surrogates and huge integers included."""
        assert Pseudonymizer(KEY)({"value": value})

    def test_is_the_same_in_another_process_and_schema(self):
        """Whatever the process' hash seed is."""
        module = "jupyter_otel_telemetry.privacy.pseudonyms"
        program = f"from {module} import Pseudonymizer; print(Pseudonymizer({KEY!r})('ada'))"
        elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        entry = {"pseudonymized_properties": ["user.name", "who"]}
        log = EventLog(handlers=[EventSink()], allowed_schemas={"*": entry}, pseudonym_key=KEY.decode())
        log.register_schema({"$id": ID, "version": 1})
        log.register_schema({"$id": "https://example.org/other", "version": 1})

        assert log.record_event(ID, 1, {"user": {"name": "ada"}}) == {"user": {"name": elsewhere.strip()}}
        assert log.record_event("https://example.org/other", 1, {"who": "ada"}) == {"who": elsewhere.strip()}


class TestCanonicalJSON:
    """RFC 8785, whose appendix B these numbers are from."""

    @pytest.mark.parametrize(
        "number, text",
        [
            (0.0, "0"),
            (-0.0, "0"),
            (5e-324, "5e-324"),
            (-5e-324, "-5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (9007199254740992.0, "9007199254740992"),
            (295147905179352830000.0, "295147905179352830000"),
            (9.999999999999997e22, "9.999999999999997e+22"),
            (1e23, "1e+23"),
            (999999999999999700000.0, "999999999999999700000"),
            (1e21, "1e+21"),
            (9.999999999999997e-7, "9.999999999999997e-7"),
            (0.000001, "0.000001"),
            (333333333.33333325, "333333333.33333325"),
            (-0.0000033333333333333333, "-0.0000033333333333333333"),
            (1424953923781206.2, "1424953923781206.2"),
            (1, "1"),
            (2**64, "18446744073709551616"),
        ],
    )
    def test_number(self, number, text):
        """As ECMAScript prints it; integers keep all digits."""
        assert canonical_json(number).decode() == text

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_number_is_read_back(self, number):
        """None is rounded."""
        assert float(canonical_json(number)) == number

    def test_names_are_sorted_by_utf_16(self):
        """As in JavaScript: the astral name comes before U+FB33."""
        names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}

        assert [ord(name[0]) for name in json.loads(canonical_json(names))] == [
            *(0x0D, 0x31, 0x80, 0xF6, 0x20AC, 0x1F600, 0xFB33),
        ]

    @pytest.mark.parametrize(
        "value, text", [(math.nan, b"NaN"), (-math.inf, b"-Infinity"), ("\ud800", '"\ufffd"'.encode())]
    )
    def test_what_rfc_8785_does_not_know(self, value, text):
        """Has a form all the same."""
        assert canonical_json(value) == text
