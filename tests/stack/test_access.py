"""Who may send to the gateway."""

import pytest
from stack import TOKEN, post_logs

OK, BAD_REQUEST, UNAUTHORIZED = 200, 400, 401


class TestToken:
    def test_opens(self, gateway, loki):
        """With the token, over TLS, an event is accepted, and arrives."""
        assert post_logs(gateway.endpoint, token=TOKEN, verify=gateway.trusted) == OK
        assert len(loki.wait_for(1, 180)) == 1

    @pytest.mark.parametrize("token", [None, "wrong", TOKEN[:-1], TOKEN + "x"])
    def test_is_needed(self, gateway, token):
        """Without it, or with another, the answer is 401."""
        assert post_logs(gateway.endpoint, token=token, verify=gateway.trusted) == UNAUTHORIZED

    def test_is_read_again_when_its_file_changes(self, gateway, tmp_path):
        """Tokens are replaced without a restart: during the change both are in the file."""
        (tmp_path / "gateway" / "token").write_text(f"{TOKEN}\nnext")
        verify = gateway.trusted
        gateway.wait_until(
            lambda: post_logs(gateway.endpoint, token="next", verify=verify) == OK, "the new one opens"
        )

        assert post_logs(gateway.endpoint, token=TOKEN, verify=verify) == OK


class TestTransport:
    def test_plain_http_is_refused(self, gateway):
        """The token does not help where there is no TLS."""
        assert post_logs(gateway.endpoint.replace("https", "http"), token=TOKEN) == BAD_REQUEST

    def test_certificate_is_checked_by_the_sender(self, gateway):
        """A sender that trusts nobody in particular does not trust ours."""
        assert post_logs(gateway.endpoint, token=TOKEN) is None


class TestApplication:
    @pytest.mark.parametrize("options", [{}, {"headers": {"authorization": "Bearer wrong"}}])
    def test_goes_on_when_it_is_refused(self, gateway, loki, record, certificate, options):
        """Recording raises nothing; that it was not delivered, `force_flush` tells."""
        assert not record(gateway.endpoint, {"n": 1}, flush_timeout_s=5, certificate_file=certificate.cert, **options)
        assert loki.logs == []

    def test_goes_on_when_there_is_no_tls(self, gateway, loki, record):
        """The same for plain HTTP to a port that wants TLS."""
        headers = {"authorization": f"Bearer {TOKEN}"}

        assert not record(gateway.endpoint.replace("https", "http"), {"n": 1}, flush_timeout_s=5, headers=headers)
        assert loki.logs == []
