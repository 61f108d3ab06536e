"""The folder that ``alignhmr prepare`` writes: shards named by the range of their pictures, and ``prepare.json``.

A larger count of made people keeps the full shards.
"""

from dataclasses import dataclass
from typing import Any

from alignhmr.core.errors import AlignhmrError
from alignhmr.deployments.shard_folder import Shard, ShardFolder
from alignhmr.training.sighting_shards import read_info


@dataclass(frozen=True)
class PreparedOutput(ShardFolder):
    """One run's folder."""

    manifest = "prepare.json"
    holds = "prepared people"
    prefix = "people-"
    endings = (".parquet",)

    @classmethod
    def at(cls, location: str, identity: dict[str, Any]) -> "PreparedOutput":
        return cls(location, *cls.place(location, cls.holds), identity)

    def name(self, shard: Shard) -> str:
        return f"{self.prefix}{shard.start:07d}-{shard.stop - 1:07d}.parquet"

    def kept(self, shard: Shard) -> dict[str, Any] | None:
        """Counts of a shard that is there already and whole; None where it has to be made."""
        try:
            info = read_info(self.filesystem, f"{self.path}/{self.name(shard)}")
        except AlignhmrError:
            return None
        return dict(info.counts) if info.identity == self.identity else None
