"""The folder that ``alignhmr synth`` writes: shards named by the range of their indices, and ``synth.json``.

A larger count keeps the full shards.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alignhmr.core.synthetic.shards import IDENTITY_KEY, MANIFEST, SUFFIX, parquet_bytes, tar_bytes
from alignhmr.deployments.shard_folder import Shard, ShardFolder

SHARD_SAMPLES = 50
"""Of one file. It doesn't depend on the number of workers, or the files would."""


@dataclass(frozen=True)
class SynthOutput(ShardFolder):
    """One run's folder."""

    format: str = "parquet"

    manifest = MANIFEST
    holds = "made people"
    prefix = "samples-"
    endings = tuple(SUFFIX.values())

    @classmethod
    def at(cls, location: str, identity: dict[str, Any], format: str) -> "SynthOutput":
        return cls(location, *cls.place(location, "samples"), identity, format)

    def name(self, shard: Shard) -> str:
        return f"{self.prefix}{shard.start:07d}-{shard.stop - 1:07d}{SUFFIX[self.format]}"

    def kept(self, shard: Shard) -> str | None:
        """Digest of a shard that is there already and whole; None where it has to be made."""
        path = f"{self.path}/{self.name(shard)}"
        try:
            with self.filesystem.open_input_stream(path) as file:
                data = file.read()
        except FileNotFoundError:
            return None
        if self.format == "parquet":
            try:
                parquet = pq.ParquetFile(pa.BufferReader(data))
            except pa.ArrowInvalid:
                return None
            named = (parquet.schema_arrow.metadata or {}).get(IDENTITY_KEY)
            if named != self.named().encode() or parquet.metadata.num_rows != shard.stop - shard.start:
                return None
        return hashlib.sha256(data).hexdigest()

    def write_shard(self, shard: Shard, rows: list[dict[str, Any]]) -> str:
        """Writes the shard; returns its digest."""
        data = parquet_bytes(rows, self.named()) if self.format == "parquet" else tar_bytes(rows)
        self.write(self.name(shard), data)
        return hashlib.sha256(data).hexdigest()
