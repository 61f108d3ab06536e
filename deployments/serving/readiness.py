"""How many model replicas run, as Ray Serve's controller knows it."""

from ray import serve

MODELS = "Models"
"""Name of the deployment that holds the models."""


def running_replicas(application: str) -> int:
    """Model replicas that answer now. Asks the controller: takes milliseconds, not for an event loop."""
    status = serve.status().applications.get(application)
    if status is None or MODELS not in status.deployments:
        return 0
    # Keys are members of a str enum, or their names: both are found by name.
    states: dict = dict(status.deployments[MODELS].replica_states)
    return states.get("RUNNING", 0)
