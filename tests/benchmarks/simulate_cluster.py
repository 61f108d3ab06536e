"""The bookkeeping of a labelling job on 1,000 nodes, without the nodes: what grows, and what failures cost.

Time is simulated, the books aren't: the job's own plan, ledger, output folder, stock-taking and final check do what
they would do for that many nodes, and their seconds are measured. A node holds some blocks at a time and is lost at a
given rate; what it held is begun again elsewhere, and half of the lost ones are only cut off, and write late. In the
middle the driver is killed: its successor takes stock and goes on. Models, pictures and the network are left out.
"""

import argparse
import hashlib
import heapq
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from record import finish

from alignhmr.deployments.labeling.books import BOOKS, Books
from alignhmr.deployments.labeling.ledger import Ledger
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.plan import PLAN, write_plan
from alignhmr.deployments.labeling.resume import check_whole, stand
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows, widened
from alignhmr.deployments.labeling.sources import Entry
from alignhmr.deployments.planning.rates import shipped_rates

CORES, HELD = 16, 4
"""Of each node: its cores, and the blocks that it has in its stages at a time."""
IMAGES_PER_BLOCK = 64
BOOT_S = 240.0
STAGES = ("people", "recover", "score")
SCHEMA = row_schema(1)
NARROW = pa.schema(
    [SCHEMA.field(name) for name in ("uri", "image_sha256", "person_index", "error_code")]
)  # fmt: skip


@dataclass
class Watch:
    """Seconds of CPU that parts of the bookkeeping took, and what happened."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def timed(self, name: str, work: Any, *given: Any) -> Any:
        start = time.process_time()
        found = work(*given)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start
        return found

    def note(self, name: str, count: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + count


class Attempt:
    """One driver's life over the blocks that are left; ``blocks`` bounds how many parts it lives to see."""

    def __init__(
        self, folder: Path, output: Output, planned: Any, nodes: int, rate_per_h: float, watch: Watch, seed: int
    ) -> None:  # fmt: skip
        kind = Ledger.__ray_metadata__.modified_class  # type: ignore[attr-defined]
        self.ledger = kind(str(folder), 3)
        self.output, self.watch, self.nodes, self.rate_per_h = output, watch, nodes, rate_per_h
        self.waiting = list(planned.blocks())[::-1]
        self.chance = random.Random(seed)
        rates = shipped_rates()
        worker_s = sum(rate.worker_s * rate.cpus for rate in rates.stages.values())
        self.block_s = IMAGES_PER_BLOCK * worker_s * HELD / (CORES * rates.efficiency)
        self.parts: set[str] = set()
        self.begun_images = 0

    def run(self, parts: int | None = None) -> float:
        """Simulated seconds until all is written, or so many parts are."""
        now, events = 0.0, []
        for node in range(self.nodes):
            heapq.heappush(events, (self._until_lost(), node, "lost", None))
            for _ in range(HELD):
                heapq.heappush(events, (self.chance.uniform(0, 5), node, "free", None))
        alive, held = dict.fromkeys(range(self.nodes), 0), {node: {} for node in range(self.nodes)}
        while events and (parts is None or len(self.parts) < parts):
            now, node, kind, told = heapq.heappop(events)
            if kind == "lost":
                # What it held is begun anew by others; half of those that are lost are only cut off, and write late.
                alive[node] += 1
                cut_off = self.chance.random() < 0.5
                self.watch.note("nodes lost")
                for block, work in held[node].items():
                    self.waiting.append(block)
                    self.watch.note("blocks begun again")
                    if cut_off:
                        self._write(work)
                        self.watch.note("late writers")
                held[node] = {}
                heapq.heappush(events, (now + BOOT_S + self._until_lost(), node, "lost", None))
                for _ in range(HELD):
                    heapq.heappush(events, (now + BOOT_S, node, "free", None))
            elif kind == "free" and self.waiting:
                block = self.waiting.pop()
                work = self._begin(block)
                held[node][block] = work
                took = self.block_s * self.chance.uniform(0.8, 1.2)
                heapq.heappush(events, (now + took, node, "done", (block, alive[node])))
            elif kind == "done" and told is not None and told[1] == alive[node]:
                self._end(held[node].pop(told[0]))
                heapq.heappush(events, (now, node, "free", None))
            if not self.waiting and not any(held.values()):
                break
            # Who found nothing to do asks again when somebody else's work comes back.
            if kind == "lost" and self.waiting:
                for other in self.chance.sample(range(self.nodes), min(self.nodes, len(self.waiting))):
                    heapq.heappush(events, (now, other, "free", None))
        return now

    def _until_lost(self) -> float:
        return self.chance.expovariate(self.rate_per_h / 3600) if self.rate_per_h else float("inf")

    def _begin(self, block: tuple[int, int]) -> list[tuple[str, str]]:
        table = self.watch.timed("ledger", self.ledger.entries, *block)
        uris = table.column("uri").to_pylist()
        pictures = [(hashlib.sha256(uri.encode()).hexdigest(), uri) for uri in uris]
        owners = self.watch.timed("ledger", self.ledger.claim, pictures)
        assert owners == uris
        self.begun_images += len(uris)
        verdicts = self.watch.timed("ledger", self.ledger.begin, STAGES[0], uris)
        self.watch.note("tried alone", verdicts.count("alone"))
        self.watch.note("given up", verdicts.count("worker_killed"))
        return pictures

    def _end(self, pictures: list[tuple[str, str]]) -> None:
        keys = [uri for _, uri in pictures]
        self.watch.timed("ledger", self.ledger.end, STAGES[0], keys)
        for stage in STAGES[1:]:
            people = [f"{sha}:0" for sha, _ in pictures]
            self.watch.timed("ledger", self.ledger.begin, stage, people)
            self.watch.timed("ledger", self.ledger.end, stage, people)
        for _ in range(4):
            self.watch.timed("ledger", self.ledger.count, {"searched": len(pictures)})
        self._write(pictures)

    def _write(self, pictures: list[tuple[str, str]]) -> None:
        rows = [{"uri": uri, "image_sha256": sha, "error_code": "no_person"} for sha, uri in pictures]
        told = self.output.write_part(widened(table_from_rows(rows, NARROW), SCHEMA))
        if told["file"] in self.parts:
            self.watch.note("parts written twice")
        self.parts.add(told["file"])


def listing(images: int) -> Iterator[Entry]:
    for number in range(images):
        yield Entry(f"s3://bucket/some/prefix/{number:010}.jpg")


def simulated(folder: Path, nodes: int, images: int, rate_per_h: float, seed: int = 0) -> dict[str, Any]:
    """A run whose driver is killed in its middle."""
    watch, out = Watch(), Output.at(str(folder / "out"))
    out.make_folders()
    hours, begun, last, cut_short = 0.0, 0, 0, 0
    for attempt in (1, 2):
        books_at = folder / f"books{attempt}"
        books_at.mkdir()
        books = Books(books_at / BOOKS)
        standing = watch.timed(f"stock {attempt}", stand, out, last, books)
        planned = watch.timed(
            f"listing {attempt}", write_plan, listing(images), books, books_at / PLAN, IMAGES_PER_BLOCK
        )
        books.close()
        watch.counts["driver disk bytes"] = sum(path.stat().st_size for path in books_at.iterdir())
        work = Attempt(books_at, standing.output, planned, nodes, rate_per_h, watch, seed + attempt)
        half = len(work.waiting) // 2 if attempt == 1 else None
        hours += work.run(half) / 3600
        if attempt == 1:
            cut_short = work.begun_images - len(work.parts) * IMAGES_PER_BLOCK
        begun, last = begun + work.begun_images, standing.output.attempt
    names = out.of(last).counted_parts(last)
    checked = watch.timed("check", check_whole, out, names)
    assert checked == {"pictures": images, "in_two_parts": 0, "labelled_twice": 0}, checked
    ledger_s = watch.seconds["ledger"]
    return {
        "nodes": nodes, "images": images, "lost_per_node_hour": rate_per_h, "parts": len(names),
        "hours": round(hours, 4), "images_per_s": round(images / hours / 3600),
        "done_again_for_the_driver_percent": round(100 * cut_short / images, 2),
        "done_again_for_nodes_percent": round(
            100 * watch.counts.get("blocks begun again", 0) * IMAGES_PER_BLOCK / images, 2
        ),
        "ledger_s_per_million": round(1e6 * ledger_s / begun, 2),
        "ledger_busy_percent": round(100 * ledger_s / (hours * 3600), 1),
        "listing_s_per_million": round(1e6 * watch.seconds["listing 1"] / images, 2),
        "stock_s_per_million": round(1e6 * watch.seconds["check"] / images, 2),
        "driver_disk_gib_per_million": round(watch.counts["driver disk bytes"] / images * 1e6 / 2**30, 3),
        **{name.replace(" ", "_"): watch.counts.get(name, 0) for name in (
            "nodes lost", "blocks begun again", "late writers", "parts written twice", "tried alone", "given up",
        )},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="ends within 60 s on a machine with nothing to do"
    )
    options = parser.parse_args()
    cases = [(20, 32_000, 0.05), (20, 32_000, 5.0)] if options.quick else [
        (1000, 256_000, 0.05), (1000, 512_000, 0.05), (1000, 512_000, 5.0),
    ]  # fmt: skip
    runs = []
    for nodes, images, rate in cases:
        folder = Path(tempfile.mkdtemp())
        try:
            runs.append(simulated(folder, nodes, images, rate))
        finally:
            shutil.rmtree(folder)
        print(runs[-1], flush=True)
    values = {
        "cores": CORES, "blocks_of_a_node": HELD, "images_per_block": IMAGES_PER_BLOCK, "runs": runs,
        "peak_mb": round(psutil.Process().memory_info().rss / 2**20),
    }  # fmt: skip
    finish("simulate_cluster", values, quick=options.quick)


if __name__ == "__main__":
    main()
