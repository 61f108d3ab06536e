"""How a benchmark ends: one JSON object as the last line, and the last full result kept beside the code."""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
MEASURED = ("*.py", "*.npz", "*.safetensors", "*.yaml", "constraints.txt")
"""What a figure depends on; words about it may be written while it is measured."""


def prepared_folders(doc: str | None) -> argparse.ArgumentParser:
    """Options of a benchmark that is given people to learn from and to judge by."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", required=True)
    parser.add_argument("--held-out", required=True)
    return parser


def finish(name: str, values: dict[str, object], *, quick: bool) -> None:
    """Prints the result; a full run also replaces ``results/NAME.json``."""
    result = {
        **values,
        "quick": quick,
        "command": f"python tests/benchmarks/{name}.py" + (" --quick" if quick else ""),
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+changes" if _git("status", "--porcelain", "-uno", "--", *MEASURED) else ""),
        "machine": f"{os.cpu_count()} x {_processor()}, Python {platform.python_version()}",
    }
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.flush()
    print(json.dumps(result))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
