"""How many replicas with models run, as Ray Serve's controller knows it."""

from ray import serve

PERCEPTION, RECOVERY = "Perception", "Recovery"
"""Names of the deployments that hold models."""


def running_replicas(application: str) -> dict[str, int]:
    """By deployment, those that answer now. Asks the controller: takes milliseconds, not for an event loop."""
    status = serve.status().applications.get(application)
    deployments = {} if status is None else status.deployments
    running = {}
    for name in (PERCEPTION, RECOVERY):
        # Keys are members of a str enum, or their names: both are found by name.
        states: dict = dict(deployments[name].replica_states) if name in deployments else {}
        running[name] = states.get("RUNNING", 0)
    return running
