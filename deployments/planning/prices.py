"""What machines and storage cost, as a file of the user's tells it: no prices ship, they are no facts that last."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from alignhmr.core.errors import InputError


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(_Closed):
    """A kind of machine, on one market."""

    cpus: PositiveFloat
    gpus: float = Field(default=0, ge=0)
    memory_gib: PositiveFloat
    hour: PositiveFloat
    """Price of one of them."""
    most: PositiveInt = Field(default=1000, le=20_000)
    """That may be had at once."""
    speed: PositiveFloat = 1.0
    """Of its cores, or its GPUs, beside those that the rates were measured on."""
    boot_s: float = Field(default=300.0, ge=0)
    """From asking for it to its first picture; paid for."""
    lost_per_hour: float = Field(default=0.0, ge=0, le=60)
    """How often one is taken away: 0 for machines on demand."""


class Head(_Closed):
    hour: float = Field(ge=0)


class Storage(_Closed):
    """An object store's prices; 0 where nothing is paid."""

    gib_month: float = Field(default=0.0, ge=0)
    months: float = Field(default=1.0, ge=0)
    """For which the rows are kept."""
    get_1000: float = Field(default=0.0, ge=0)
    put_1000: float = Field(default=0.0, ge=0)
    """Listing costs as much on the stores that we know."""
    in_gib: float = Field(default=0.0, ge=0)
    """For each GiB of pictures that is brought to the machines: another region's, or the web's."""


class Prices(_Closed):
    currency: str
    source: str
    """Whose prices these are, and of what day."""
    head: Head
    machines: dict[str, Machine] = Field(min_length=1)
    storage: Storage = Storage()


def load_prices(path: str | Path) -> Prices:
    """InputError says what is wrong with the file first."""
    try:
        return Prices.model_validate(yaml.safe_load(Path(path).read_text()))
    except OSError as error:
        raise InputError(
            f"price file {str(path)!r} can't be read: {error.strerror}; deployments/README.md shows one"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"price file {str(path)!r} isn't YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(
            f"price file {str(path)!r}: {where}: {first['msg'].lower()}; deployments/README.md shows one"
        ) from error
