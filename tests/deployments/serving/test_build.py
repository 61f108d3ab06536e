"""Settings become a Serve application without Ray: what ``serve build`` and a Serve YAML rely on."""

import pytest
from pydantic import ValidationError
from ray import serve

from alignhmr.deployments.serving import build
from alignhmr.deployments.serving.app import Ingress
from alignhmr.deployments.serving.build import ServeSettings, application, build_app


def deployments(app: serve.Application) -> dict[str, serve.Deployment]:
    ingress = app._bound_deployment
    models = ingress.init_args[0]._bound_deployment
    return {ingress.name: ingress, models.name: models}


def test_the_default_application_has_one_ingress_and_one_replica():
    both = deployments(application)
    assert set(both) == {Ingress.name, "Models"}
    assert both["Models"].num_replicas == 1


def test_replicas_scale_with_load_where_they_may():
    models = deployments(build_app(ServeSettings(min_replicas=2, max_replicas=5)))["Models"]
    scaling = models._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)
    assert models.max_queued_requests == ServeSettings().max_queued


def test_the_settings_reach_the_models(monkeypatch):
    given = {}
    monkeypatch.setattr(build.Recoverer, "load", lambda **options: given.update(options))
    wanted = {"base": "b", "scorer": "s", "body": "y", "detector": "blazepose", "device": "cpu", "threads": 2}
    build.load_recoverer(ServeSettings(**wanted))
    assert given == wanted


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="replica_count"):
        ServeSettings.model_validate({"replica_count": 3})
    with pytest.raises(ValidationError, match="max_pixel"):
        ServeSettings.model_validate({"limits": {"max_pixel": 3}})
