"""How fast people are drawn, and whether twice the same: images/s of ``alignhmr synth`` on all cores, at 256 px.

The real command, in a new process, with Ray and its workers; start-up (imports, Ray, loading what numba compiled)
is told apart from drawing. The same run is made again with one worker and in this process, and compared bit for bit.
Also told: a picture's cost in this process by domain, on one thread.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import finish

from alignhmr.core.synthetic.domains import DOMAINS
from alignhmr.core.synthetic.samples import Maker, make_sample, read_samples


def command(out: Path, domain: str, count: int, *options: str) -> dict:
    """What ``synth.json`` says after the command."""
    words = [
        sys.executable,
        "-m",
        "alignhmr",
        "synth",
        "--domain",
        domain,
        "--count",
        str(count),
        "--out",
        str(out),
    ]
    done = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the command failed: {done.stderr.strip()[-500:]}")
    return json.loads((out / "synth.json").read_text())


def ms_a_picture(domain: str, count: int) -> float:
    maker = Maker(domain, "test", 1)
    make_sample(maker, 0)
    times = []
    for index in range(count):
        start = time.perf_counter()
        make_sample(maker, index)
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.mean(times), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    quick = parser.parse_args().quick
    domains = ("wild",) if quick else tuple(DOMAINS)
    count = 100 if quick else 600
    speed, start, equal = {}, {}, True
    with tempfile.TemporaryDirectory() as folder:
        for domain in domains:
            record = command(Path(folder) / domain, domain, count)
            speed[domain] = record["images_per_s"]
            start[domain] = round(record["seconds"] - record["drawing_s"], 1)
            maker = Maker(domain, "train", 0)
            for index, sample in enumerate(read_samples(Path(folder) / domain)):
                if index % (10 if quick else 20) == 0:
                    equal &= make_sample(maker, index).sample.picture.sha256 == sample.picture.sha256
        if not quick:
            one = command(Path(folder) / "one", "wild", 100, "--workers", "1")
            both = command(Path(folder) / "both", "wild", 100)
            equal &= one["shards"] == both["shards"]
    values = {
        "images_per_s": min(speed.values()),
        "bit_equal": equal,
        "images_per_s_by_domain": speed,
        "start_s_by_domain": start,
        "ms_a_picture_one_thread": {domain: ms_a_picture(domain, 20 if quick else 60) for domain in domains},
        "pictures": count,
        "size_px": 256,
    }
    finish("synth", values, quick=quick)


if __name__ == "__main__":
    main()
