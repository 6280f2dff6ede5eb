"""Python's drivers: psycopg 3, psycopg 2, asyncpg, SQLAlchemy and Django. tests/support/drivers.py asks.

Requests come on standard input, one in a line, with tabs between verb and arguments; each gets one line as
its answer: `ok` or `error`, a tab, and the answer or the message.

    check DRIVER ADDRESS              run statements; the user, and whether the server recovers
    open NAME DRIVER ADDRESS          open a connection and use it
    close NAME                        use it for the last time; whether it was the same connection
    load NAME DRIVER ADDRESS TABLE N  begin to insert rows with N workers
    stop NAME                         rows, transactions run again, failed ones, longest stall, last error
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
import django.conf
import django.db
import psycopg
import psycopg2
import sqlalchemy

ROUNDS = 6
"""psycopg prepares a statement at its fifth execution."""
PAUSE = 0.02


# docs: psycopg
class Database:
    """One connection to the database, opened again when it breaks."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.connection: psycopg.Connection | None = None
        self.retries = 0  # (test)

    def run(self, work: Callable[[psycopg.Connection], Any], seconds: float = 60) -> Any:
        """Run one transaction, and again if the primary changes meanwhile: `work` can happen twice."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.connection is None:
                    self.connection = psycopg.connect(self.uri)
                with self.connection.transaction():
                    return work(self.connection)
            except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
                if time.monotonic() > deadline:
                    raise
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
                self.retries += 1  # (test)
                time.sleep(0.2)


# docs: end


class Psycopg3:
    def __init__(self, address: str) -> None:
        self.connection = psycopg.connect(address, autocommit=True)

    def one(self, query: str, *values: Any) -> Any:
        with self.connection.transaction():
            row = self.connection.execute(query.replace("?", "%s"), values).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        self.connection.close()


class Psycopg2:
    def __init__(self, address: str) -> None:
        self.connection = psycopg2.connect(address)

    def one(self, query: str, *values: Any) -> Any:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(query.replace("?", "%s"), values)
            return cursor.fetchone()[0]

    def close(self) -> None:
        self.connection.close()


class Asyncpg:
    def __init__(self, address: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.connection = self.loop.run_until_complete(asyncpg.connect(address))

    def one(self, query: str, *values: Any) -> Any:
        return self.loop.run_until_complete(self.connection.fetchval(query.replace("?", "$1"), *values))

    def close(self) -> None:
        self.loop.run_until_complete(self.connection.close())
        self.loop.close()


class SQLAlchemy:
    def __init__(self, address: str) -> None:
        uri = address
        # docs: sqlalchemy
        engine = sqlalchemy.create_engine(uri.replace("postgresql://", "postgresql+psycopg://", 1))
        # docs: end
        self.engine = engine

    def one(self, query: str, *values: Any) -> Any:
        named = {f"v{number}": value for number, value in enumerate(values)}
        with self.engine.begin() as connection:
            return connection.execute(sqlalchemy.text(query.replace("?", ":v0")), named).scalar()

    def close(self) -> None:
        self.engine.dispose()


class Django:
    def __init__(self, address: str) -> None:
        if not django.conf.settings.configured:
            django.conf.settings.configure(DATABASES={"default": {}}, USE_TZ=True)
        found = urlsplit(address)
        secret = {
            "dbname": unquote(found.path[1:]),
            "user": unquote(found.username or ""),
            "password": unquote(found.password or ""),
        }
        hosts = [part.partition(":") for part in found.netloc.rpartition("@")[2].split(",")]
        secret["host"] = ",".join(host for host, _, _ in hosts)
        secret["port"] = ",".join(port for _, _, port in hosts)
        options = dict(parse_qsl(found.query))
        # docs: django
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": secret["dbname"],
            "USER": secret["user"],
            "PASSWORD": secret["password"],
            "HOST": secret["host"],
            "PORT": secret["port"],
            "OPTIONS": options,
            "DISABLE_SERVER_SIDE_CURSORS": True,  # for pool_mode: transaction
        }
        # docs: end
        self.connection = django.db.ConnectionHandler({"default": database})["default"]
        self.connection.ensure_connection()

    def one(self, query: str, *values: Any) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(query.replace("?", "%s"), values)
            return cursor.fetchone()[0]

    def close(self) -> None:
        self.connection.close()


DRIVERS: dict[str, Callable[[str], Any]] = {
    "psycopg 3": Psycopg3,
    "psycopg 2": Psycopg2,
    "asyncpg": Asyncpg,
    "SQLAlchemy": SQLAlchemy,
    "Django": Django,
}


def check(driver: str, address: str) -> str:
    """Run statements over two connections in turn, so that in transaction mode they share servers."""
    pair = [DRIVERS[driver](address) for _ in range(2)]
    try:
        for number in range(ROUNDS):
            for connection in pair:
                got = connection.one("SELECT CAST(? AS int) + 1", number)
                if got != number + 1:
                    raise ValueError(f"asked for {number} + 1, got {got}")
        return f"{pair[0].one('SELECT current_user')} {pair[1].one('SELECT pg_is_in_recovery()')}".lower()
    finally:
        for connection in pair:
            connection.close()


class Opened:
    """A connection that is used again later, and opened again if it broke meanwhile."""

    def __init__(self, driver: str, address: str) -> None:
        self.connect = partial(DRIVERS[driver], address)
        self.connection: Any = self.connect()
        self.use()

    def use(self) -> str:
        try:
            self.connection.one("SELECT CAST(? AS int) + 1", 1)
        except Exception as error:  # noqa: BLE001 - each driver has its own classes
            self.connection.close()
            self.connection = self.connect()
            self.connection.one("SELECT CAST(? AS int) + 1", 1)
            return f"opened again after: {' '.join(str(error).split())}"
        return "same connection"

    def close(self) -> str:
        """Use it for the last time."""
        answer = self.use()
        self.connection.close()
        return answer


class Load:
    """Rows inserted by several workers until it stops."""

    def __init__(self, driver: str, address: str, table: str, workers: str) -> None:
        if driver != "psycopg 3":
            raise ValueError(driver)
        self.insert = f"INSERT INTO {table} VALUES ('psycopg 3', %s, %s) ON CONFLICT DO NOTHING"
        self.ended = threading.Event()
        self.rows = self.retries = self.errors = 0
        self.stall, self.message = 0.0, ""
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._work, args=(address, number)) for number in range(int(workers))
        ]
        for thread in self.threads:
            thread.start()

    def _work(self, address: str, worker: int) -> None:
        database, number, last, stall, rows = Database(address), 0, time.monotonic(), 0.0, 0
        while not self.ended.is_set():
            number += 1
            try:
                database.run(partial(self._insert, worker, number))
                rows += 1
                stall, last = max(stall, time.monotonic() - last), time.monotonic()
            except psycopg.Error as error:
                with self.lock:
                    self.errors += 1
                    self.message = " ".join(str(error).split())
            time.sleep(PAUSE)
        if database.connection is not None:
            database.connection.close()
        with self.lock:
            self.rows += rows
            self.retries += database.retries
            self.stall = max(self.stall, stall)

    def _insert(self, worker: int, number: int, connection: psycopg.Connection) -> None:
        connection.execute(self.insert, (worker, number))

    def stop(self) -> str:
        self.ended.set()
        for thread in self.threads:
            thread.join()
        return f"{self.rows} {self.retries} {self.errors} {self.stall:.2f} {self.message}"


def main() -> None:
    """Answer requests until standard input ends."""
    kept: dict[str, Any] = {}
    for line in sys.stdin:
        verb, *arguments = line.rstrip("\n").split("\t")
        try:
            answer = _answer(kept, verb, arguments)
            sys.stdout.write(f"ok\t{answer}\n")
        except Exception as error:  # noqa: BLE001 - each driver has its own classes
            sys.stdout.write(f"error\t{type(error).__name__}: {' '.join(str(error).split())}\n")
        sys.stdout.flush()


def _answer(kept: dict[str, Any], verb: str, arguments: list[str]) -> str:
    match verb:
        case "check":
            return check(*arguments)
        case "open":
            kept[arguments[0]] = Opened(*arguments[1:])
            return "opened"
        case "close":
            return str(kept.pop(arguments[0]).close())
        case "load":
            kept[arguments[0]] = Load(*arguments[1:])
            return "started"
        case "stop":
            return str(kept.pop(arguments[0]).stop())
    raise ValueError(verb)


if __name__ == "__main__":
    main()
