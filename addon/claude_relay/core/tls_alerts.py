"""What alerts of TLS mean for who reads of them, by the words of OpenSSL in an error: https://www.rfc-editor.org/rfc/rfc8446#section-6

    meaning("[('SSL routines', '', 'tlsv13 alert certificate required')]")      -> "it wants a certificate of the relay's own"
    meaning("TLSV1_ALERT_UNKNOWN_CA")                                            -> "it does not take the relay's certificate"

It must not know connections.
"""

from __future__ import annotations

WANTED = "it wants a certificate of the relay's own"
NOT_TAKEN = "it does not take the relay's certificate"
FAILED = "TLS failed"
MEANINGS = {
    "alert certificate required": WANTED,
    "alert unknown ca": NOT_TAKEN,
    "alert bad certificate": NOT_TAKEN,
    "alert unsupported certificate": NOT_TAKEN,
    "alert certificate revoked": NOT_TAKEN,
    "alert certificate expired": NOT_TAKEN,
    "alert certificate unknown": NOT_TAKEN,
}


def meaning(error: str) -> str:
    """In words that repeat nothing of it."""
    words = error.lower().replace("_", " ")
    return next((what for name, what in MEANINGS.items() if name in words), FAILED)
