"""What alerts of TLS mean."""

import pytest

from claude_relay.core.tls_alerts import FAILED, NOT_TAKEN, WANTED, meaning


@pytest.mark.parametrize(
    ("error", "what"),
    [
        ("[('SSL routines', '', 'tlsv13 alert certificate required')]", WANTED),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", WANTED),
        ("[('SSL routines', 'ssl3_read_bytes', 'sslv3 alert bad certificate')]", NOT_TAKEN),
        ("TLSV1_ALERT_UNKNOWN_CA", NOT_TAKEN),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", NOT_TAKEN),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", FAILED),
        ("", FAILED),
    ],
)
def test_what_they_mean(error: str, what: str) -> None:
    assert meaning(error) == what
