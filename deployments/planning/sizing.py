"""How many of which machines label so many pictures, how long it takes, what it costs. Pure arithmetic.

Pictures are taken for a fluid: a machine labels as many a second as its scarcest resource lets it. Stages that need a
GPU run on machines with one, the others on machines without; each of the two pools is filled with the machines that
are cheapest for the work, up to what can be had. What can't be spread is the driver's: it sets the fastest pace.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, inf

from alignhmr.core.errors import InputError
from alignhmr.deployments.labeling.plan import MOST_BLOCKS
from alignhmr.deployments.planning.prices import Machine, Prices
from alignhmr.deployments.planning.rates import Rates, StageRate

GIB = 2**30
_MILLION = 1e6
UPLOAD_BYTES = 10 * 2**20
"""Arrow sends an object in pieces of so many, each a request."""
BLOCKS_HELD = 1.5
"""By each worker, on average: what a machine that is taken away has to do again."""
RESOURCES = ("cpus", "gpus", "memory_gib")
Need = Mapping[str, float]
"""Resource -> how much of it is held for how many seconds, for one picture."""


@dataclass(frozen=True)
class Pool:
    """The machines that run some stages."""

    name: str
    stages: tuple[str, ...]
    need: Need
    machines: Mapping[str, int]
    """Kind -> how many."""
    images_per_s: float
    """That they could label."""
    scarce: str
    """The resource that is used up first."""


@dataclass(frozen=True)
class Plan:
    images: int
    pools: tuple[Pool, ...]
    images_per_s: float
    hours: float
    """From starting the command to its end."""
    phases_h: Mapping[str, float]
    costs: Mapping[str, float]
    bottleneck: Mapping[str, str]
    """Which pool, resource and stage set the pace; or the driver."""
    workers: Mapping[str, int]
    """Stage -> how many of its workers keep pace."""
    storage_gib: Mapping[str, float]
    requests: Mapping[str, int]
    parts: int
    """Files that are written, of ``Rates.images_per_block`` pictures."""
    runs: int
    """Into which the pictures are best cut."""
    crowded_block: int
    """Pictures in a block of a single run: its blocks grow where there would be too many."""

    @property
    def cost(self) -> float:
        return sum(self.costs.values())


def plan(
    images: int, rates: Rates, prices: Prices, *, deadline_h: float | None = None, budget: float | None = None
) -> Plan:
    """The cheapest plan; within the deadline if there is one; with a budget alone, the fastest that it pays for.

    InputError where no fleet of these machines can do that; it says what is the least.
    """
    if images < 1:
        raise InputError(f"{images} pictures were asked for; give 1 or more")
    for name, limit in (("deadline", deadline_h), ("budget", budget)):
        if limit is not None and not limit > 0:
            raise InputError(f"the {name} is {limit:g}; give a positive number")
    found = [_plan_at(images, rates, prices, pace) for pace in sorted(set(_paces(rates, prices)))]
    if not found:
        raise InputError(_no_machine(rates, prices))
    fit = [one for one in found if one.hours <= (deadline_h or inf) and one.cost <= (budget or inf)]
    if not fit:
        fastest, cheapest = min(found, key=lambda one: one.hours), min(found, key=lambda one: one.cost)
        raise InputError(
            f"these machines can't do that: the fastest fleet takes {fastest.hours:.1f} h and costs {fastest.cost:.2f}"
            f" {prices.currency}, the cheapest costs {cheapest.cost:.2f} and takes {cheapest.hours:.1f} h; give more"
            " time, more money or more machines (most)"
        )
    if deadline_h is None and budget is not None:
        return min(fit, key=lambda one: (one.hours, one.cost))
    return min(fit, key=lambda one: (one.cost, one.hours))


def need_of(stages: Mapping[str, StageRate]) -> dict[str, float]:
    return {name: sum(rate.worker_s * getattr(rate, name) for rate in stages.values()) for name in RESOURCES}


def images_per_s(machine: Machine, need: Need, rates: Rates) -> float:
    """What one of these labels, less what is done again after it was taken away."""
    most = min((getattr(machine, name) / need[name] for name in RESOURCES if need[name]), default=inf)
    return machine.speed * rates.efficiency * most * (1 - _lost(machine, rates))


def _lost(machine: Machine, rates: Rates) -> float:
    """Share of a machine's time that goes into starting another, and into doing again what it held."""
    again_s = BLOCKS_HELD * rates.images_per_block * sum(rate.worker_s for rate in rates.stages.values())
    hours = (machine.boot_s + again_s / machine.speed) / 3600
    rate = machine.lost_per_hour * hours
    return rate / (1 + rate)


def _split(rates: Rates, prices: Prices) -> list[tuple[str, dict[str, StageRate], dict[str, Machine]]]:
    """Stages with the machines that may run them."""
    on_gpus = {name: rate for name, rate in rates.stages.items() if rate.gpus}
    others = {name: rate for name, rate in rates.stages.items() if not rate.gpus}
    with_gpus = {name: machine for name, machine in prices.machines.items() if machine.gpus}
    without = {name: machine for name, machine in prices.machines.items() if not machine.gpus}
    pools = [("cpu", others, without or with_gpus), ("gpu", on_gpus, with_gpus)]
    return [(name, stages, machines) for name, stages, machines in pools if stages]


def _order(machines: Mapping[str, Machine], need: Need, rates: Rates) -> list[tuple[str, Machine, float]]:
    """The cheapest for the work first."""
    paces = [(name, machine, images_per_s(machine, need, rates)) for name, machine in machines.items()]
    return sorted((one for one in paces if one[2] > 0), key=lambda one: (one[1].hour / one[2], one[0]))


def _paces(rates: Rates, prices: Prices) -> Iterator[float]:
    """Pictures a second that some number of some pool's machines can do, and all pools can follow."""
    pools = [_order(machines, need_of(stages), rates) for _, stages, machines in _split(rates, prices)]
    most = min((sum(machine.most * pace for _, machine, pace in pool) for pool in pools), default=0.0)
    most = min(most, _MILLION / rates.driver.ledger_s)
    for pool in pools:
        total = 0.0
        for _, machine, pace in pool:
            for _ in range(machine.most):
                total += pace
                if total > most * (1 + 1e-9):
                    break
                yield total
    if most:
        yield most


def _fill(order: list[tuple[str, Machine, float]], pace: float) -> dict[str, int]:
    counts, left = {}, pace
    for name, machine, each in order:
        if left > 1e-9 * pace:
            # An exact multiple must not cost one machine more for its last digit.
            counts[name] = min(machine.most, ceil(left / each - 1e-6))
            left -= counts[name] * each
    return counts


def _plan_at(images: int, rates: Rates, prices: Prices, pace: float) -> Plan:
    pools = []
    for name, stages, machines in _split(rates, prices):
        need = need_of(stages)
        order = _order(machines, need, rates)
        counts = _fill(order, pace)
        able = sum(counts.get(kind, 0) * each for kind, _, each in order)
        first = machines[next(iter(counts))]
        scarce = min(
            (part for part in RESOURCES if need[part]), key=lambda part: getattr(first, part) / need[part]
        )
        pools.append(Pool(name, tuple(stages), need, counts, able, scarce))
    driver = rates.driver
    labelling_s = images / pace
    boot_s = max(prices.machines[kind].boot_s for pool in pools for kind in pool.machines)
    phases_s = {
        "listing": driver.listing_s * images / _MILLION, "starting": boot_s, "labelling": labelling_s,
        "checking": driver.stock_s * images / _MILLION,
    }  # fmt: skip
    hours = sum(phases_s.values()) / 3600
    size = rates.images_per_block
    parts, runs = ceil(images / size), ceil(images / (MOST_BLOCKS * size))
    storage = {
        "pictures": images * rates.image_bytes / GIB, "rows": images * rates.row_bytes / GIB,
        "books": driver.disk_gib * images / _MILLION / runs,
    }  # fmt: skip
    requests = _requests(images, parts, rates.row_bytes * min(size, images))
    return Plan(
        images=images, pools=tuple(pools), images_per_s=pace, hours=hours,
        phases_h={name: value / 3600 for name, value in phases_s.items()},
        costs=_costs(pools, prices, (labelling_s + boot_s) / 3600, hours, storage, requests),
        bottleneck=_bottleneck(pools, rates, pace),
        workers={
            name: ceil(rate.worker_s * pace / rates.efficiency - 1e-9) for name, rate in rates.stages.items()
        },
        storage_gib=storage, requests=requests, parts=parts, runs=runs,
        crowded_block=size * ceil(parts / MOST_BLOCKS),
    )  # fmt: skip


def _requests(images: int, parts: int, part_bytes: float) -> dict[str, int]:
    """To an object store that holds loose pictures and takes the rows (``test_requests.py`` counts them)."""
    return {
        "get": 2 * images + 3 * parts,  # a HEAD and a GET each; a part is looked at once more at the end
        "put": parts * (2 + max(1, ceil(part_bytes / UPLOAD_BYTES))),
        "list": ceil(images / 1000) + 2 * ceil(parts / 1000),
    }


def _costs(
    pools: list[Pool], prices: Prices, machine_h: float, hours: float, storage_gib: Mapping[str, float],
    requests: Mapping[str, int],
) -> dict[str, float]:  # fmt: skip
    machines = {
        kind: count * prices.machines[kind].hour * machine_h
        for pool in pools
        for kind, count in pool.machines.items()
    }
    store = prices.storage
    return machines | {
        "head": prices.head.hour * hours,
        "requests": (requests["get"] * store.get_1000 + (requests["put"] + requests["list"]) * store.put_1000)
        / 1000,
        "bringing": storage_gib["pictures"] * store.in_gib,
        "keeping": storage_gib["rows"] * store.gib_month * store.months,
    }


def _bottleneck(pools: list[Pool], rates: Rates, pace: float) -> dict[str, str]:
    slowest = min(pools, key=lambda pool: pool.images_per_s)
    if _MILLION / rates.driver.ledger_s <= pace * (1 + 1e-9):
        return {"pool": "driver", "resource": "ledger", "stage": "all"}
    stages = {name: rates.stages[name] for name in slowest.stages}
    stage = max(stages, key=lambda name: stages[name].worker_s * getattr(stages[name], slowest.scarce))
    return {"pool": slowest.name, "resource": slowest.scarce, "stage": stage}


def _no_machine(rates: Rates, prices: Prices) -> str:
    for name, stages, machines in _split(rates, prices):
        if not machines:
            return (
                f"stages {', '.join(stages)} need a {name.upper()}, and no machine in the price file has one; add one"
                " (gpus: 1)"
            )
    return "no machine in the price file can run these stages; see that cpus and memory_gib are enough"
