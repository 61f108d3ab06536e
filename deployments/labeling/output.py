"""The folder that a run writes: ``rows/*.parquet`` and ``run.json``, on a disk or in a bucket.

A part's name is a digest of the rows in it. A task that is retried writes the same file again, so no row
comes twice; a part that isn't named by ``run.json`` at the end was left by a lost worker, and is removed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments.storage import open_location

RECORD = "run.json"
ROWS = "rows"


@dataclass(frozen=True)
class Output:
    """A run's folder."""

    location: str
    filesystem: arrow_fs.FileSystem
    path: str

    @classmethod
    def at(cls, location: str) -> "Output":
        filesystem, path = open_location(location)
        if filesystem.get_file_info(path).type == arrow_fs.FileType.File:
            raise InputError(f"{location!r} is a file; give a folder to write the rows into")
        return cls(location, filesystem, path)

    def record(self) -> dict[str, Any] | None:
        """What ``run.json`` says, or None without one."""
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{RECORD}") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(
                f"{self.location}/{RECORD} isn't JSON ({error}); remove it or choose another --out"
            ) from error

    def claim(self, identity: Mapping[str, Any], *, overwrite: bool = False) -> dict[str, Any] | None:
        """Makes the folder ready for the run with this identity.

        Returns the record of the same run if it has been finished already; nothing is left to do then. An
        unfinished one is started over. Anything else in the folder is refused, unless ``overwrite``.
        """
        record = self.record()
        if not overwrite:
            if record is None and self._entries():
                raise InputError(
                    f"{self.location!r} is not empty and holds no labelling run; choose another --out,"
                    " or pass --overwrite to write beside what is there"
                )
            if record is not None:
                differences = _differences(record.get("identity", {}), identity)
                if differences:
                    raise InputError(
                        f"{self.location!r} holds another labelling run ({differences}); choose another"
                        " --out, or pass --overwrite to replace it"
                    )
                if record.get("status") == "finished":
                    return record
        try:
            # Only what a run writes is removed, never the folder itself.
            if self.filesystem.get_file_info(f"{self.path}/{ROWS}").type != arrow_fs.FileType.NotFound:
                self.filesystem.delete_dir(f"{self.path}/{ROWS}")
            self.filesystem.create_dir(f"{self.path}/{ROWS}")
        except OSError as error:
            raise SetupError(f"{self.location!r} can't be written: {error}; choose another --out") from error
        return None

    def write_record(self, record: Mapping[str, Any]) -> None:
        text = json.dumps(record, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
        self._write(f"{self.path}/{RECORD}", lambda file: file.write(text.encode()))

    def write_part(self, table: pa.Table) -> dict[str, Any]:
        """Writes the rows as one Parquet file and says what is in it."""
        name = f"part-{_rows_digest(table)[:20]}.parquet"
        self._write(
            f"{self.path}/{ROWS}/{name}", lambda file: pq.write_table(table, file, compression="zstd")
        )
        return {"file": name, **summary(table)}

    def keep_only(self, names: set[str]) -> int:
        """Removes every part that isn't named; returns how many there were."""
        lost = [path for path in self._entries(ROWS) if path.rpartition("/")[2] not in names]
        for path in lost:
            self.filesystem.delete_file(path)
        return len(lost)

    def _entries(self, below: str = "") -> list[str]:
        path = f"{self.path}/{below}" if below else self.path
        found = self.filesystem.get_file_info(arrow_fs.FileSelector(path, allow_not_found=True))
        # A bucket's listing may hold the folder itself as an empty object.
        return [info.path for info in found if info.path.strip("/") != path.strip("/")]

    def _write(self, path: str, write) -> None:
        if not isinstance(self.filesystem, arrow_fs.LocalFileSystem):
            with self.filesystem.open_output_stream(path) as file:  # an object appears whole or not at all
                write(file)
            return
        with self.filesystem.open_output_stream(f"{path}.partial") as file:
            write(file)
        self.filesystem.move(f"{path}.partial", path)


def summary(table: pa.Table) -> dict[str, Any]:
    """Counts over rows, that add up over parts."""
    index = table.column("person_index").to_pylist()
    codes = table.column("error_code").to_pylist()
    pairs = [len(found) for found in table.column("pairs").to_pylist() if found is not None]
    problems = table.column("caption_error").drop_null().to_pylist()
    return {
        "rows": table.num_rows,
        "images": sum(person in (None, 0) for person in index),
        "images_with_people": sum(person == 0 for person in index),
        "people": sum(person is not None for person in index),
        "people_labelled": sum(p is not None and code is None for p, code in zip(index, codes, strict=True)),
        "people_with_pairs": len(pairs),
        "pairs": sum(pairs),
        "abstained": dict(Counter(table.column("abstained").drop_null().to_pylist())),
        "errors": dict(Counter(code for code in codes if code is not None)),
        "caption_errors": dict(Counter(problem.partition(":")[0] for problem in problems)),
    }


def add_up(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several."""
    total: dict[str, Any] = {
        key: 0
        for key in (
            "images",
            "images_with_people",
            "rows",
            "people",
            "people_labelled",
            "people_with_pairs",
            "pairs",
        )
    }
    nested = {key: Counter() for key in ("abstained", "errors", "caption_errors")}
    for part in summaries:
        for key in total:
            total[key] += part[key]
        for key, counter in nested.items():
            counter.update(part[key])
    return total | {key: dict(sorted(counter.items())) for key, counter in nested.items()}


def _rows_digest(table: pa.Table) -> str:
    keys = zip(
        *(table.column(name).to_pylist() for name in ("image_sha256", "person_index", "uri")), strict=True
    )
    return hashlib.sha256("\n".join(sorted(map(repr, keys))).encode()).hexdigest()


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between two identities, at most three items; empty if nothing does."""
    a, b = _flat(there), _flat(here)
    changed = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    items = [f"{key} {_short(a.get(key))} there, {_short(b.get(key))} here" for key in changed[:3]]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return "; ".join(items) + more


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:21] + "..."
