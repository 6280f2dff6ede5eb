"""The certificates of the local Kubernetes, created with openssl; the standard library cannot do this."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.shell import output

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_DAYS = "3650"
# All extensions are explicit: Python 3.13 rejects certificates without one of them (RFC 5280).
_CA_EXTENSIONS = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
_EXTENSIONS = """\
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth,serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


@dataclass(frozen=True)
class Identity:
    """Paths of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """The CA of one cluster, and the key that signs service account tokens."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Return the CA's certificate."""
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        """Return the CA's key."""
        return self.folder / "ca.key"

    @property
    def service_account_key(self) -> Path:
        """Return the key that signs tokens."""
        return self.folder / "service-account.key"

    def create(self) -> None:
        """Create the CA and the token key."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        subject = ("-x509", "-subj", "/CN=pgoperator-local-ca", "-days", _DAYS)
        output(
            [
                "openssl",
                "req",
                *_CURVE,
                *subject,
                *_CA_EXTENSIONS,
                "-keyout",
                self.key,
                "-out",
                self.certificate,
            ]
        )
        output(
            [
                "openssl",
                "ecparam",
                "-name",
                "prime256v1",
                "-genkey",
                "-noout",
                "-out",
                self.service_account_key,
            ]
        )

    def issue(self, name: str, common_name: str, organization: str, sans: Sequence[str] = ()) -> Identity:
        """Issue a certificate for clients and servers; `sans`: subject alternative names as for openssl."""
        identity = Identity(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        names = ",".join(sans or [f"DNS:{name}"])
        extensions.write_text(f"{_EXTENSIONS}subjectAltName={names}\n")
        subject = f"/O={organization}/CN={common_name}"
        output(["openssl", "req", *_CURVE, "-subj", subject, "-keyout", identity.key, "-out", request])
        serial = f"0x{os.urandom(16).hex()}"  # unique, also for certificates that are issued in parallel
        signer = ("-CA", self.certificate, "-CAkey", self.key, "-set_serial", serial, "-days", _DAYS)
        output(
            [
                "openssl",
                "x509",
                "-req",
                "-in",
                request,
                *signer,
                "-extfile",
                extensions,
                "-out",
                identity.certificate,
            ]
        )
        return identity
