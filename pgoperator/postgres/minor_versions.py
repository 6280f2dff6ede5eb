"""The minor versions of PostgreSQL that close all security holes known at this release."""

CLOSED = {15: 20, 16: 15, 17: 12, 18: 6}
"""Major version -> minor version with the newest security fixes.

15 and 17 are from Debian's security updates of November 2026, 16 and 18 from Percona's operator 3.1.0.
"""
END_OF_LIFE = range(10, 15)
"""Major versions that get no fixes any more: 13 since November 2025, 14 since November 2026
(https://www.postgresql.org/support/versioning/)."""


def holes(version_num: int) -> tuple[str, str] | None:
    """Reason and sentence about a server with known security holes, None without any.

    `version_num`: `server_version_num`, for example 170005.
    """
    major, minor = divmod(version_num, 10000)
    running = f"the primary runs PostgreSQL {major}.{minor}"
    if major in END_OF_LIFE:
        step = f"move the data to a cluster with PostgreSQL {min(CLOSED)} or later"
        return "EndOfLife", f"{running}, and version {major} gets no security fixes any more: {step}"
    if minor < CLOSED.get(major, 0):
        fixed = f"{major}.{CLOSED[major]}"
        step = f"set spec.image to an image with {fixed} or later"
        return "FixesMissing", f"{running}, which has security holes that {fixed} closes: {step}"
    return None
