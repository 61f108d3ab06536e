"""A labelling run with fake models, as a process to be killed: ``python fault_driver.py SOURCE OUT [SLOW_S]``.

It joins the Ray at RAY_ADDRESS and prints the node that it is on. FAULT_DRIVER is JSON: ``config`` over its settings,
and ``notes``, a folder in which workers note their nodes.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path


def main(source: str, out: str, slow_s: float = 0.0) -> None:
    spec = importlib.util.spec_from_file_location("label_fakes", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    fakes = importlib.util.module_from_spec(spec)
    sys.modules["label_fakes"] = fakes
    spec.loader.exec_module(fakes)

    import ray
    from rich.console import Console

    from alignhmr.deployments import runtime
    from alignhmr.deployments.labeling.command import label_pictures
    from alignhmr.deployments.labeling.config import load_config
    from alignhmr.deployments.labeling.sources import list_pictures

    runtime.start_ray()
    print(ray.get_runtime_context().get_node_id(), flush=True)
    few = {
        "resources.people.num_cpus": 0.25,
        "resources.recover.num_cpus": 0.25,
        "resources.score.num_cpus": 0.25,
    }
    told = json.loads(os.environ.get("FAULT_DRIVER", "{}"))
    config = load_config("laptop", None, fakes.SMALL | few | told.get("config", {}))
    models = fakes.FakeModels(slow_s=slow_s, notes=told.get("notes"))
    label_pictures(list_pictures(source), config, models, out, console=Console(stderr=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
