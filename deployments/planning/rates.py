"""What a labelling run takes for one picture: the figures that ship, or those of a run of the user's own."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pyarrow import fs as arrow_fs
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from alignhmr.core.errors import InputError
from alignhmr.deployments.storage import open_location

SHIPPED = "rates.yaml"
_RUN = "run.json"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageRate(_Closed):
    """One worker of a stage: how long a picture takes it, and what it holds meanwhile."""

    worker_s: float = Field(ge=0)
    """For one picture, with a core for itself."""
    cpus: float = Field(ge=0)
    gpus: float = Field(default=0, ge=0)
    memory_gib: float = Field(default=0, ge=0)


class Driver(_Closed):
    """What the one driver and its ledger take for a million pictures, however many machines work for them."""

    listing_s: float = Field(ge=0)
    """Listing, and writing the plan."""
    ledger_s: float = Field(gt=0)
    """Of the ledger, which answers one worker after the other."""
    stock_s: float = Field(ge=0)
    """Taking stock: once at the end, and when a run goes on."""
    disk_gib: float = Field(ge=0)


class Rates(_Closed):
    """Everything that a plan is reckoned from, and where it was measured."""

    measured: dict[str, str]
    """Command, machine and commit, in words."""
    stages: dict[str, StageRate]
    efficiency: float = Field(gt=0, le=1)
    """Share of a machine's time that goes into stages; the rest is Ray's, and waiting."""
    images_per_block: PositiveInt
    image_bytes: PositiveFloat
    row_bytes: PositiveFloat
    """Written for one picture, over all its people."""
    driver: Driver


def shipped_rates() -> Rates:
    text = (resources.files("alignhmr.deployments.planning") / SHIPPED).read_text()
    return Rates.model_validate(yaml.safe_load(text))


def load_rates(source: str | Path | None = None) -> Rates:
    """Those that ship; or of a run's folder, its ``run.json``, or a file like the one that ships.

    InputError where that can't be read, or the run hasn't ended.
    """
    if source is None:
        return shipped_rates()
    name = str(source)
    if not name.endswith((".yaml", ".yml")):
        return _of_folder(name.removesuffix(_RUN).rstrip("/") or ".")
    try:
        return Rates.model_validate(yaml.safe_load(Path(source).read_text()))
    except OSError as error:
        raise InputError(f"{name!r} can't be read: {error.strerror}; give --rates another file") from error
    except (yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name!r} isn't a file of rates ({reason}); see planning/{SHIPPED}") from error


def _of_folder(location: str) -> Rates:
    filesystem, path = open_location(location)
    try:
        with filesystem.open_input_stream(f"{path}/{_RUN}") as file:
            record = json.loads(file.read())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{location!r} holds no {_RUN} of `alignhmr label` ({error}); give --rates a run's folder, or a .yaml"
        ) from error
    return rates_of(record, _bytes_of(filesystem, f"{path}/rows", record.get("parts", ())))


def rates_of(record: Mapping[str, Any], written_bytes: int) -> Rates:
    """Of what ``run.json`` says. The driver's figures and the efficiency stay those that ship."""
    if record.get("status") != "finished" or not record["counts"]["images"]:
        raise InputError(
            f"that run is {record.get('status')!r}, with {record.get('counts', {}).get('images', 0)} pictures; give"
            " --rates one that is finished"
        )
    base, images = shipped_rates(), record["counts"]["images"]
    use = record["config"]["resources"]
    stages = {
        name: _stage(name, told, use[name], images)
        for name, told in record["stages"].items()
        if name in use and told["busy_s"]
    }
    if not stages:
        raise InputError(
            "that run's record has no seconds of stages; give --rates a run that labelled something"
        )
    measured = {
        "command": f"alignhmr label {record['source']}",
        "machine": f"{record['device']}, {record['versions'].get('platform', '')}",
        "commit": f"version {record['identity']['package_version']}", "images": str(images),
    }  # fmt: skip
    told = {
        "measured": measured, "stages": stages, "images_per_block": use["images_per_block"],
        "row_bytes": max(written_bytes / images, 1.0),
    }  # fmt: skip
    return base.model_copy(update=told)


def _stage(name: str, told: Mapping[str, float], use: Mapping[str, Any], images: int) -> StageRate:
    """Where workers shared too few cores their seconds grew, those of the CPU didn't: these count for what computes
    on a CPU. Reading waits for storage, and a stage on a GPU for the GPU: there all seconds count."""
    gpus = told["accelerator_busy_s"] / told["busy_s"]
    computes = name != "read" and not gpus
    seconds = (told.get("computed_s") or told["busy_s"]) if computes else told["busy_s"]
    return StageRate(
        worker_s=seconds / images,
        cpus=use["num_cpus"],
        gpus=round(gpus, 4),
        memory_gib=use.get("memory_gib") or 0.0,
    )


def _bytes_of(filesystem: arrow_fs.FileSystem, folder: str, parts: Any) -> int:
    infos = filesystem.get_file_info([f"{folder}/{part}" for part in parts])
    return sum(info.size or 0 for info in infos)
