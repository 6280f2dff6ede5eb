"""Certificates as a user provides them: a CA of the user and the certificates that it signs."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pgoperator import pki


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a user."""

    pair: pki.Pair
    now: datetime

    @classmethod
    def new(cls, name: str, now: datetime) -> "Authority":
        """Create an authority."""
        return cls(pki.new_ca(name, now), now)

    @property
    def root(self) -> dict[str, str]:
        """The data of the CA's Secret."""
        return {"root.crt": self.pair.cert.decode(), "root.key": self.pair.key.decode()}

    def tls(self, *names: str, common_name: str = "", days: int = 90, **more: str) -> dict[str, str]:
        """The data of a Secret with a certificate for these names."""
        pair = pki.issue(
            self.pair,
            common_name=common_name or names[0],
            dns_names=names,
            now=self.now,
            life=timedelta(days=days),
        )
        files = {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": self.pair.cert}
        return {name: text.decode() for name, text in files.items()} | more
