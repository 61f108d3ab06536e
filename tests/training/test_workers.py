"""Two processes that agree; one that has nobody to agree with."""

import json
import subprocess
import sys

import torch

from alignhmr.training.workers import first_says, has_others, mean_over_workers, means_over_workers

TWO = """
import json, sys, torch
from alignhmr.training.workers import first_says, has_others, mean_over_workers, means_over_workers
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
values = torch.tensor([1.0, 2.0], requires_grad=True) * (rank + 1)
told = mean_over_workers(values)
cpu = torch.device("cpu")
print(json.dumps([
    has_others(), told.tolist(), told.requires_grad, values.tolist(),
    means_over_workers({"b": rank, "a": 0.1} if rank else {"a": 0.3, "b": rank}, cpu),
    first_says(rank == 0, cpu), first_says(rank == 1, cpu),
]))
torch.distributed.destroy_process_group()
"""


def test_two_workers_know_the_mean_and_follow_the_first(tmp_path):
    store = tmp_path / "store"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), str(store)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    for rank, (others, mean, learns, kept, named, first, second) in enumerate(answers):
        assert others and mean == [1.5, 3.0] and not learns
        assert kept == [1.0 + rank, 2.0 + 2 * rank], "what a worker holds stays its own"
        assert named == {"a": 0.2, "b": 0.5}
        assert first is True and second is False


def test_alone_everything_is_ones_own():
    cpu = torch.device("cpu")
    assert not has_others()
    assert mean_over_workers(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert means_over_workers({"loss": 2.5}, cpu) == {"loss": 2.5}
    assert first_says(True, cpu) and not first_says(False, cpu)
