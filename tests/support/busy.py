"""Sessions that commit without end, and whether a process still runs."""

from pathlib import Path

SPIN = """
CREATE TABLE committed (at timestamptz);
CREATE OR REPLACE PROCEDURE spin() LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        INSERT INTO committed VALUES (clock_timestamp());
        COMMIT;
    END LOOP;
END $$"""
"""Table `committed` and procedure `spin`."""


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
