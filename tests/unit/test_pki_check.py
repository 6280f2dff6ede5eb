"""What people are told of the certificates that they bring."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from pgoperator import pki, pki_check
from tests.support.certificates import Authority

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CA = Authority.new("theirs", NOW)
PAIR = pki.issue(CA.pair, common_name="db.example", dns_names=["db.example", "*.pods"], now=NOW)
OTHER = Authority.new("other", NOW)


def with_passphrase(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )


def test_a_sound_pair_has_no_flaw() -> None:
    assert pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, NOW) is None
    assert pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, NOW, common_name="db.example") is None
    assert pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, NOW, host="db.example") is None
    assert pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, NOW, host="a.pods") is None
    assert pki_check.flaw_of_trust(PAIR.cert, CA.pair.cert) is None


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        (b"garbage", PAIR.key, "tls.crt is not a certificate"),
        (b"", PAIR.key, "tls.crt is not a certificate"),
        (PAIR.cert, b"garbage", "tls.key is not a private key"),
        (PAIR.cert, with_passphrase(PAIR.key), "tls.key has a passphrase"),
        (PAIR.cert, CA.pair.key, "does not belong"),
    ],
)
def test_a_broken_pair_is_told(cert: bytes, key: bytes, says: str) -> None:
    assert says in str(pki_check.flaw_of_leaf(cert, key, NOW))


def test_the_wrong_time_is_told() -> None:
    late, early = NOW + timedelta(days=366), NOW - timedelta(days=1)
    assert "expired on 2027-01-02" in str(pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, late))
    assert "not valid before" in str(pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, early))


def test_the_wrong_name_is_told() -> None:
    said = pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, NOW, common_name="_crunchyrepl")
    assert said == "the common name in tls.crt is 'db.example', it must be '_crunchyrepl'"
    said = pki_check.flaw_of_leaf(PAIR.cert, PAIR.key, NOW, host="a.b.pods")
    assert "not valid for the name 'a.b.pods'" in str(said)
    plain = pki.issue(CA.pair, common_name="old.example", now=NOW)
    assert pki_check.flaw_of_leaf(plain.cert, plain.key, NOW, host="old.example") is None


def test_a_stranger_s_signature_is_told() -> None:
    assert "not signed by" in str(pki_check.flaw_of_trust(PAIR.cert, OTHER.pair.cert))
    assert "ca.crt is not" in str(pki_check.flaw_of_trust(PAIR.cert, b"x"))
    assert pki_check.flaw_of_trust(PAIR.cert, OTHER.pair.cert + CA.pair.cert) is None
    # A chain that goes in circles ends.
    assert pki_check.flaw_of_trust(PAIR.cert + CA.pair.cert, OTHER.pair.cert) is not None


def test_authorities_must_be_able_to_sign() -> None:
    assert pki_check.flaw_of_authority(CA.pair.cert, CA.pair.key, NOW) is None
    assert "not the certificate of an authority" in str(pki_check.flaw_of_authority(PAIR.cert, PAIR.key, NOW))
    assert "root.key does not belong" in str(pki_check.flaw_of_authority(CA.pair.cert, OTHER.pair.key, NOW))
    assert "root.crt has expired" in str(
        pki_check.flaw_of_authority(CA.pair.cert, CA.pair.key, NOW + timedelta(days=4000))
    )


def test_lists_are_joined_without_repetition() -> None:
    one, two = CA.pair.cert, OTHER.pair.cert
    assert pki_check.joined(one) == one
    assert pki_check.joined(one, one) == one
    both = pki_check.joined(one, two)
    assert pki_check.joined(both, two, one) == both
    assert pki_check.flaw_of_roots(both) is None
