"""Labelling runs with a worker, the driver or a node killed at random times, compared row by row with one left alone.

Fake models (those of the tests), a Ray of three nodes on this host, real processes and SIGKILL. Told are the faults
injected, and the rows that were lost, that came twice, or that differ from those of the undisturbed run.
"""

import argparse
import importlib.util
import random
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path
from types import ModuleType

from chaos import Chaos
from record import finish

FAKES = Path(__file__).parents[1] / "deployments" / "labeling" / "conftest.py"
KINDS = ("worker", "driver", "node")


def fakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("label_fakes", FAKES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["label_fakes"] = module
    spec.loader.exec_module(module)
    return module


def disturbed(chaos: Chaos, kind: str, chance: random.Random, photos: Path, out: Path) -> int:
    """A run to its good end; returns how often something was killed."""
    driver, killed = chaos.start(photos, out, slow_s=0.1), 0
    if kind == "worker":
        for _ in range(2):
            killed += chaos.kill_worker(chance, driver) is not None
    else:
        chaos.wait_for_parts(out, driver, more_than=chance.randrange(4))
        chaos.sleep(chance.uniform(0, 2))
        if driver.poll() is None and kind == "node":
            chaos.kill_node(chance, driver)
            killed = 1
        elif driver.poll() is None:
            driver.kill()
            driver.wait()
            killed, driver = 1, chaos.start(photos, out)
    chaos.finish(driver)
    return killed


def compared(fake: ModuleType, wanted: list[dict], out: Path) -> Counter[str]:
    """Rows of this run that are missing, too many, or not the same."""

    def key(row: dict) -> tuple:
        return row["image_sha256"] or row["uri"], row["person_index"], row["error_code"] == "duplicate"

    there, here = Counter(map(key, wanted)), Counter(map(key, fake.read_rows(out)))
    found = Counter({"lost": (there - here).total(), "doubled": (here - there).total()})
    if not found.total():
        try:
            fake.assert_same_rows(wanted, fake.read_rows(out))
        except AssertionError:
            found["differing_runs"] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one run; a minute on a machine with nothing else to do"
    )
    parser.add_argument("--runs", type=int, help="how many")
    parser.add_argument("--minutes", type=float, help="a soak: as many as fit, kept as no result")
    options = parser.parse_args()
    runs = options.runs or (1 if options.quick else 20)
    until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    fake, faults, found = fakes(), Counter(), Counter()
    with tempfile.TemporaryDirectory() as name, Chaos() as chaos:
        folder = Path(name)
        photos = folder / "photos"
        for number in range(60):
            fake.write_picture(photos / f"{number:03}.png", 20 * (number % 3), number=number)
        (photos / "copy.png").write_bytes((photos / "001.png").read_bytes())
        chaos.finish(chaos.start(photos, folder / "undisturbed"))
        wanted = fake.read_rows(folder / "undisturbed")
        for run in range(runs) if until is None else count():
            if until is not None and time.monotonic() > until:
                runs = run
                break
            kind, chance = KINDS[run % len(KINDS)], random.Random(run)
            out = folder / f"run{run}"
            faults[kind] += disturbed(chaos, kind, chance, photos, out)
            found += compared(fake, wanted, out)
            print(f"run {run}: {kind}, so far {dict(faults)}, {dict(found)}", flush=True)
    values = {
        "runs": runs, "faults": dict(faults), "rows_a_run": len(wanted), "lost": found["lost"],
        "doubled": found["doubled"], "differing_runs": found["differing_runs"],
    }  # fmt: skip
    finish("label_faults", values, quick=options.quick or until is not None or runs < 20)


if __name__ == "__main__":
    main()
