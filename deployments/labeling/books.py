"""What a run must remember of every picture, on a disk instead of in memory: which were seen, and who owns which bytes.

SQLite in a temporary file: memory stays where its cache ends, whatever the number of pictures. What counts is in the
rows that were written; the books are made anew from them (``resume.py``), so that a torn book costs nothing.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

BOOKS = "books.sqlite"
CACHE_MB = 32


class Books:
    """Two sets on a disk, for one process. Without a path, the file goes with it.

    ``lasting`` books outlive a process that is killed while it writes, and are several times slower to fill.
    """

    def __init__(self, path: str | Path | None = None, *, lasting: bool = False) -> None:
        self._folder = None
        if path is None:
            self._folder = tempfile.TemporaryDirectory(prefix="alignhmr-books-")
            path = Path(self._folder.name) / "books.sqlite"
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Not synchronous: no book needs to outlive a power cut.
        for pragma in (
            f"journal_mode={'WAL' if lasting else 'MEMORY'}",
            "synchronous=OFF",
            f"cache_size=-{CACHE_MB * 1024}",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS owners (sha BLOB PRIMARY KEY, uri TEXT NOT NULL) WITHOUT ROWID"
        )

    def see(self, names: Iterable[str]) -> list[bool]:
        """For each name, whether it is new; it isn't any more afterwards."""
        with self._transaction() as cursor:
            return [
                cursor.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_key(name),)).rowcount == 1
                for name in names
            ]

    def see_together(self, names: Sequence[str]) -> bool:
        """Whether all of them are new, none named twice; only then are they seen afterwards."""
        before = self._db.total_changes
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((_key(name),) for name in names))
        whole = self._db.total_changes - before == len(names)
        self._db.execute("COMMIT" if whole else "ROLLBACK")
        return whole

    def count_new(self, names: Sequence[str]) -> int:
        """How many of them are new; none is afterwards."""
        with self._transaction() as cursor:
            before = self._db.total_changes
            cursor.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((_key(name),) for name in names))
            return self._db.total_changes - before

    def give(self, pictures: Sequence[tuple[str, str]]) -> int:
        """As ``claim``, for many at once: how many became the owner of their bytes."""
        with self._transaction() as cursor:
            before = self._db.total_changes
            pairs = ((bytes.fromhex(sha256), uri) for sha256, uri in pictures)
            cursor.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", pairs)
            return self._db.total_changes - before

    def seen(self, names: Iterable[str]) -> list[bool]:
        """For each name, whether it was seen."""
        return [
            self._db.execute("SELECT 1 FROM seen WHERE key = ?", (_key(name),)).fetchone() is not None
            for name in names
        ]

    def claim(self, pictures: Sequence[tuple[str, str]]) -> list[str]:
        """For each (sha256, uri), the location that labels those bytes: the first that asked, for ever."""
        owners = []
        with self._transaction() as cursor:
            for sha256, uri in pictures:
                key = bytes.fromhex(sha256)
                if cursor.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (key, uri)).rowcount == 1:
                    owners.append(uri)
                else:
                    owners.append(
                        cursor.execute("SELECT uri FROM owners WHERE sha = ?", (key,)).fetchone()[0]
                    )
        return owners

    def __len__(self) -> int:
        return self._db.execute("SELECT count(*) FROM seen").fetchone()[0]

    def close(self) -> None:
        self._db.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Cursor:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db.cursor()

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
