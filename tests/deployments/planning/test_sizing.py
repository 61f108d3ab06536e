"""Plans as arithmetic: what is asked for is met, more never costs less, and numbers agree with a reckoning by hand."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignhmr.core.errors import InputError
from alignhmr.deployments.planning.prices import Head, Machine, Prices, Storage
from alignhmr.deployments.planning.rates import Driver, Rates, StageRate
from alignhmr.deployments.planning.sizing import RESOURCES, images_per_s, need_of, plan

DRIVER = Driver(listing_s=20, ledger_s=10, stock_s=30, disk_gib=0.2)
SPREAD = settings(max_examples=60, deadline=None)


def rates(**stages: StageRate) -> Rates:
    return Rates(
        measured={}, stages=stages, efficiency=0.8, images_per_block=256, image_bytes=2e5, row_bytes=3e4, driver=DRIVER
    )  # fmt: skip


def prices(storage: Storage | None = None, **machines: Machine) -> Prices:
    return Prices(
        currency="USD",
        source="invented",
        head=Head(hour=0.2),
        machines=machines,
        storage=storage or Storage(),
    )


some = st.floats(0.01, 5)
stage_rates = st.builds(
    StageRate, worker_s=some, cpus=st.sampled_from([0.25, 0.5, 1, 2]), gpus=st.sampled_from([0, 0, 0.25, 1]),
    memory_gib=st.sampled_from([0, 2]),
)  # fmt: skip
any_rates = st.dictionaries(
    st.sampled_from(["read", "people", "recover", "score"]), stage_rates, min_size=1
).map(lambda stages: rates(**stages))
machines = st.builds(
    Machine, cpus=st.sampled_from([4, 16, 64]), gpus=st.just(0), memory_gib=st.sampled_from([16, 64]),
    hour=st.floats(0.05, 5), most=st.integers(1, 40), speed=st.floats(0.5, 2), boot_s=st.floats(0, 600),
    lost_per_hour=st.sampled_from([0, 0.1]),
)  # fmt: skip
any_prices = st.builds(
    lambda spot, sure, gpu: prices(spot=spot, sure=sure, gpu=gpu.model_copy(update={"gpus": 1.0})),
    machines,
    machines,
    machines,
)
counts = st.integers(1, 10**9)


@SPREAD
@given(counts, any_rates, any_prices)
def test_every_resource_that_is_needed_is_there(images, known, table):
    found = plan(images, known, table)
    assert {stage for pool in found.pools for stage in pool.stages} == set(known.stages)
    for pool in found.pools:
        need = need_of({name: known.stages[name] for name in pool.stages})
        for part in RESOURCES:
            have = sum(
                count * getattr(table.machines[kind], part) * table.machines[kind].speed
                for kind, count in pool.machines.items()
            )
            assert need[part] * found.images_per_s <= have * known.efficiency * (1 + 1e-5)
        assert all(count <= table.machines[kind].most for kind, count in pool.machines.items())
        assert bool(need["gpus"]) == (pool.name == "gpu"), (
            "what needs no GPU doesn't sit on a machine with one"
        )


@SPREAD
@given(counts, any_rates, any_prices, st.floats(0.1, 0.9))
def test_less_time_never_costs_less_and_less_money_never_is_faster(images, known, table, share):
    cheapest, fastest = plan(images, known, table), plan(images, known, table, budget=1e15)
    assert fastest.hours <= cheapest.hours and cheapest.cost <= fastest.cost
    middle_h = fastest.hours + share * (cheapest.hours - fastest.hours)
    within = plan(images, known, table, deadline_h=middle_h * (1 + 1e-9))
    assert within.hours <= middle_h * (1 + 1e-6)
    assert cheapest.cost <= within.cost <= fastest.cost * (1 + 1e-9)
    money = cheapest.cost + share * (fastest.cost - cheapest.cost)
    paid = plan(images, known, table, budget=money * (1 + 1e-9))
    assert paid.cost <= money * (1 + 1e-6) and fastest.hours <= paid.hours <= cheapest.hours * (1 + 1e-9)


@SPREAD
@given(st.integers(1, 10**8), any_rates, any_prices)
def test_more_pictures_cost_and_take_more(images, known, table):
    few, many = plan(images, known, table), plan(3 * images, known, table)
    assert many.cost >= few.cost
    assert plan(3 * images, known, table, budget=1e15).hours >= plan(images, known, table, budget=1e15).hours
    assert many.requests["get"] > few.requests["get"] and many.storage_gib["rows"] > few.storage_gib["rows"]


@SPREAD
@given(counts, any_rates, any_prices)
def test_the_costs_are_a_sum_and_the_hours_too(images, known, table):
    found = plan(images, known, table)
    assert found.cost == pytest.approx(sum(found.costs.values()))
    assert found.hours == pytest.approx(sum(found.phases_h.values()))
    assert found.images_per_s <= min(
        [pool.images_per_s for pool in found.pools] + [1e6 / known.driver.ledger_s]
    ) * (1 + 1e-5)


def test_a_plan_that_can_be_worked_out_by_hand():
    known = rates(
        people=StageRate(worker_s=0.6, cpus=1), score=StageRate(worker_s=0.1, cpus=2),
        recover=StageRate(worker_s=0.05, cpus=1, gpus=0.25),
    )  # fmt: skip
    table = prices(
        Storage(gib_month=0.02, months=2, get_1000=0.0004, put_1000=0.005),
        cpu=Machine(cpus=8, memory_gib=32, hour=0.5, most=10, boot_s=0),
        gpu=Machine(cpus=8, gpus=1, memory_gib=32, hour=2, most=10, boot_s=0),
    )
    found = plan(1_000_000, known, table, budget=1e9)
    # A cpu machine: 8 cores / 0.8 core-seconds x 0.8 = 8 pictures/s; a gpu machine: 1 / 0.0125 x 0.8 = 64.
    assert [pool.machines for pool in found.pools] == [{"cpu": 10}, {"gpu": 2}]
    assert found.images_per_s == pytest.approx(80)
    assert found.phases_h["labelling"] == pytest.approx(1e6 / 80 / 3600)
    assert found.costs["cpu"] == pytest.approx(10 * 0.5 * 1e6 / 80 / 3600)
    assert found.bottleneck == {"pool": "cpu", "resource": "cpus", "stage": "people"}
    assert found.workers == {"people": 60, "score": 10, "recover": 5}
    assert (found.parts, found.runs, found.crowded_block) == (3907, 1, 256)
    assert found.costs["keeping"] == pytest.approx(1e6 * 3e4 / 2**30 * 0.02 * 2)


def test_the_ledger_bounds_the_pace_and_is_named():
    known = rates(people=StageRate(worker_s=1e-4, cpus=1))
    found = plan(
        10**7, known, prices(cpu=Machine(cpus=64, memory_gib=9, hour=1, most=500, boot_s=0)), budget=1e9
    )
    assert found.images_per_s == pytest.approx(1e5) and found.bottleneck["pool"] == "driver"


def test_memory_can_be_what_is_scarce():
    known = rates(people=StageRate(worker_s=1, cpus=1, memory_gib=8))
    found = plan(1000, known, prices(cpu=Machine(cpus=16, memory_gib=32, hour=1, most=1)))
    assert found.images_per_s == pytest.approx(4 * 0.8)
    assert found.bottleneck == {"pool": "cpu", "resource": "memory_gib", "stage": "people"}


def test_a_machine_that_is_taken_away_does_less():
    known = rates(people=StageRate(worker_s=1, cpus=1))
    sure = Machine(cpus=16, memory_gib=64, hour=1, boot_s=240)
    need, spot = need_of(known.stages), sure.model_copy(update={"lost_per_hour": 0.1})
    # An hour brings 0.1 starts of 240 s, and 1.5 blocks of 256 pictures of a second that are done again.
    again = 0.1 * (240 + 1.5 * 256) / 3600
    assert images_per_s(spot, need, known) == pytest.approx(images_per_s(sure, need, known) / (1 + again))


def test_the_cheapest_machines_are_filled_first_and_others_only_join():
    known = rates(people=StageRate(worker_s=1, cpus=1))
    table = prices(
        spot=Machine(cpus=10, memory_gib=64, hour=0.3, most=3, boot_s=0),
        sure=Machine(cpus=10, memory_gib=64, hour=1, most=9, boot_s=0),
    )
    slow = plan(10**6, known, table)
    assert slow.pools[0].machines == {"spot": 3}
    fast = plan(10**6, known, table, deadline_h=slow.hours / 2)
    assert fast.pools[0].machines["spot"] == 3 and fast.pools[0].machines["sure"] >= 3


def test_blocks_that_are_too_many_grow_and_runs_are_told():
    found = plan(10**9, rates(people=StageRate(worker_s=1, cpus=1)), prices(cpu=_machine(500)))
    assert found.runs == 79 and found.crowded_block == 256 * 79
    assert found.requests["put"] == 3 * found.parts == 3 * 3_906_250


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"images": 0}, "give 1 or more"),
        ({"deadline_h": 0.0}, "the deadline is 0"),
        ({"budget": -1.0}, "the budget is -1"),
        ({"deadline_h": 0.001}, r"the fastest fleet takes .* h and costs .* USD, the cheapest costs"),
        ({"budget": 0.01}, "the cheapest costs"),
    ],
)
def test_what_can_not_be_is_said(asked, said):
    known, table = rates(people=StageRate(worker_s=1, cpus=1)), prices(cpu=_machine(5))
    with pytest.raises(InputError, match=said):
        plan(**({"images": 10**6, "rates": known, "prices": table} | asked))


def test_a_stage_that_needs_a_gpu_asks_for_a_machine_with_one():
    known = rates(recover=StageRate(worker_s=1, cpus=1, gpus=0.5))
    with pytest.raises(InputError, match="stages recover need a GPU"):
        plan(10, known, prices(cpu=_machine(5)))


def test_only_gpu_machines_run_everything():
    known = rates(people=StageRate(worker_s=1, cpus=1))
    table = prices(gpu=Machine(cpus=8, gpus=1, memory_gib=9, hour=1))
    assert plan(10, known, table, deadline_h=inf).pools[0].machines == {"gpu": 1}


def _machine(most: int) -> Machine:
    return Machine(cpus=16, memory_gib=64, hour=1, most=most)
