"""What is reported about certificates of users."""

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

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
    assert pki_check.leaf_problem(PAIR.cert, PAIR.key, NOW) is None
    assert pki_check.leaf_problem(PAIR.cert, PAIR.key, NOW, common_name="db.example") is None
    assert pki_check.leaf_problem(PAIR.cert, PAIR.key, NOW, host="db.example") is None
    assert pki_check.leaf_problem(PAIR.cert, PAIR.key, NOW, host="a.pods") is None
    assert pki_check.chain_problem(PAIR.cert, CA.pair.cert, NOW) is None


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        (b"garbage", PAIR.key, "tls.crt is not a PEM certificate"),
        (b"", PAIR.key, "tls.crt is not a PEM certificate"),
        (PAIR.cert, b"garbage", "tls.key is not a PEM private key"),
        (PAIR.cert, with_passphrase(PAIR.key), "tls.key is encrypted with a passphrase"),
        (PAIR.cert, CA.pair.key, "does not match"),
    ],
)
def test_a_broken_pair_is_told(cert: bytes, key: bytes, says: str) -> None:
    assert says in str(pki_check.leaf_problem(cert, key, NOW))


def test_the_wrong_time_is_told() -> None:
    late, early = NOW + timedelta(days=366), NOW - timedelta(days=1)
    assert "expired on 2027-01-02" in str(pki_check.leaf_problem(PAIR.cert, PAIR.key, late))
    assert "not valid before" in str(pki_check.leaf_problem(PAIR.cert, PAIR.key, early))


def test_the_wrong_name_is_told() -> None:
    said = pki_check.leaf_problem(PAIR.cert, PAIR.key, NOW, common_name="_crunchyrepl")
    assert said == "the common name in tls.crt is 'db.example', but must be '_crunchyrepl'"
    said = pki_check.leaf_problem(PAIR.cert, PAIR.key, NOW, host="a.b.pods")
    assert "not valid for the host name 'a.b.pods'" in str(said)
    plain = pki.issue(CA.pair, common_name="old.example", now=NOW)
    assert pki_check.leaf_problem(plain.cert, plain.key, NOW, host="old.example") is None


def test_a_stranger_s_signature_is_told() -> None:
    assert "not signed by" in str(pki_check.chain_problem(PAIR.cert, OTHER.pair.cert, NOW))
    assert "ca.crt is not" in str(pki_check.chain_problem(PAIR.cert, b"x", NOW))
    assert pki_check.chain_problem(PAIR.cert, OTHER.pair.cert + CA.pair.cert, NOW) is None
    # A chain that goes in circles ends.
    assert pki_check.chain_problem(PAIR.cert + CA.pair.cert, OTHER.pair.cert, NOW) is not None


def test_authorities_must_be_able_to_sign() -> None:
    assert pki_check.ca_problem(CA.pair.cert, CA.pair.key, NOW) is None
    assert "not a CA certificate" in str(pki_check.ca_problem(PAIR.cert, PAIR.key, NOW))
    assert "root.key does not match" in str(pki_check.ca_problem(CA.pair.cert, OTHER.pair.key, NOW))
    assert "root.crt expired" in str(
        pki_check.ca_problem(CA.pair.cert, CA.pair.key, NOW + timedelta(days=4000))
    )


def test_lists_are_joined_without_repetition() -> None:
    one, two = CA.pair.cert, OTHER.pair.cert
    assert pki_check.merge(one) == one
    assert pki_check.merge(one, one) == one
    both = pki_check.merge(one, two)
    assert pki_check.merge(both, two, one) == both
    assert pki_check.bundle_problem(both) is None


def numbers(bits: int) -> bytes:
    """A private RSA key of so many bits, without primes, which take minutes to find."""
    p, q = (1 << (bits // 2)) - 1, (1 << (bits // 2)) - 3
    key = rsa.RSAPrivateNumbers(p, q, 3, 3, 3, 3, rsa.RSAPublicNumbers(65537, p * q))
    return key.private_key(unsafe_skip_rsa_key_validation=True).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def test_a_large_key_costs_no_time() -> None:
    begin = time.process_time()
    assert "has 16384 bits" in str(pki_check.leaf_problem(PAIR.cert, numbers(16384), NOW))
    assert "does not match" in str(pki_check.leaf_problem(PAIR.cert, numbers(8192), NOW))
    assert time.process_time() - begin < 1


def test_a_long_chain_is_refused() -> None:
    assert "at most 10 are allowed" in str(pki_check.leaf_problem(PAIR.cert * 11, PAIR.key, NOW))
    assert "at most 500 are allowed" in str(pki_check.chain_problem(PAIR.cert, CA.pair.cert * 501, NOW))
    assert "at most 500 are allowed" in str(pki_check.bundle_problem(CA.pair.cert * 501))


def test_bundles_of_many_certificates_are_merged_at_once() -> None:
    many = [Authority.new(f"ca{n}", NOW).pair.cert for n in range(200)]
    begin = time.process_time()
    merged = pki_check.merge(*[b"".join(many[: n + 1]) for n in range(0, 200, 10)], *many)
    assert time.process_time() - begin < 2
    assert merged == b"".join(many)


@dataclass
class Signer:
    """A certificate with its key, which can issue others."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.cert.public_bytes(serialization.Encoding.PEM)


def issued(
    name: str,
    by: Signer | None = None,
    *,
    ca: bool = True,
    path_length: int | None = None,
    signs: bool = True,
    days: tuple[int, int] = (-10, 10),
) -> Signer:
    """Return a certificate that is valid from and to these days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = {"digital_signature": True, "key_cert_sign": signs, "crl_sign": signs}
    others = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.name if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(x509.KeyUsage(**usage, **others), critical=True)
    )
    return Signer(subject, key, builder.sign(by.key if by else key, hashes.SHA256()))


def chain_ok() -> tuple[list[Signer], list[Signer]]:
    root = issued("root")
    middle = issued("middle", root, path_length=0)
    return [issued("leaf", middle, ca=False, signs=False), middle], [root]


def chain_over_a_leaf() -> tuple[list[Signer], list[Signer]]:
    root = issued("root")
    middle = issued("middle", root, ca=False, signs=False)
    return [issued("leaf", middle, ca=False, signs=False), middle], [root]


def chain_without_the_usage() -> tuple[list[Signer], list[Signer]]:
    root = issued("root")
    middle = issued("middle", root, signs=False)
    return [issued("leaf", middle, ca=False, signs=False), middle], [root]


def chain_too_long() -> tuple[list[Signer], list[Signer]]:
    root = issued("root", path_length=0)
    middle = issued("middle", root)
    return [issued("leaf", middle, ca=False, signs=False), middle], [root]


def chain_with_an_expired_middle() -> tuple[list[Signer], list[Signer]]:
    root = issued("root")
    middle = issued("middle", root, days=(-10, -1))
    return [issued("leaf", middle, ca=False, signs=False), middle], [root]


def chain_with_an_expired_root() -> tuple[list[Signer], list[Signer]]:
    root = issued("root", days=(-10, -1))
    return [issued("leaf", root, ca=False, signs=False)], [root]


def chain_with_a_root_from_the_future() -> tuple[list[Signer], list[Signer]]:
    root = issued("root", days=(1, 10))
    return [issued("leaf", root, ca=False, signs=False)], [root]


def chain_of_another() -> tuple[list[Signer], list[Signer]]:
    return [issued("leaf", issued("root"), ca=False, signs=False)], [issued("root")]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (chain_ok, None),
        (chain_over_a_leaf, "'CN=middle' in tls.crt is not a CA certificate"),
        (chain_without_the_usage, "'CN=middle' in tls.crt is not a CA certificate"),
        (chain_too_long, "'CN=root' in ca.crt allows at most 0 CAs below it"),
        (chain_with_an_expired_middle, "'CN=middle' in tls.crt expired on 2026-01-01"),
        (chain_with_an_expired_root, "'CN=root' in ca.crt expired on 2026-01-01"),
        (chain_with_a_root_from_the_future, "'CN=root' in ca.crt is not valid before 2026-01-03"),
        (chain_of_another, "tls.crt is not signed by a CA in ca.crt"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_chain_is_refused_where_openssl_refuses_it(
    make: Callable[[], Any], problem: str | None, tmp_path: Path
) -> None:
    chain, roots = make()
    found = pki_check.chain_problem(
        b"".join(one.pem for one in chain), b"".join(one.pem for one in roots), NOW
    )
    assert found is None if problem is None else problem in str(found)
    if openssl := shutil.which("openssl"):
        files = {"leaf": chain[:1], "untrusted": chain[1:] or roots, "roots": roots}
        for name, certs in files.items():
            (tmp_path / name).write_bytes(b"".join(one.pem for one in certs))
        roots_file = tmp_path / "roots"
        command: list[str | Path] = [openssl, "verify", "-attime", str(int(NOW.timestamp()))]
        command += ["-CAfile", roots_file]
        command += ["-untrusted", tmp_path / "untrusted", tmp_path / "leaf"]
        answer = subprocess.run(command, capture_output=True, check=False)
        assert (answer.returncode == 0) == (problem is None), answer


def test_the_successor_of_an_expired_root_is_found() -> None:
    old, new = issued("root", days=(-10, -1)), issued("other root")
    middle = issued("middle", new)
    leaf = issued("leaf", middle, ca=False, signs=False)
    assert pki_check.chain_problem(leaf.pem + middle.pem, old.pem + new.pem, NOW) is None


def test_what_is_no_certificate_is_no_chain() -> None:
    assert "tls.crt is not" in str(pki_check.chain_problem(b"x", CA.pair.cert, NOW))
