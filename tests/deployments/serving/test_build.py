"""Settings become a Serve application without Ray: what ``serve build`` and a Serve YAML rely on."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ray import serve

from alignhmr.core.errors import InputError
from alignhmr.deployments.prepared import NobodySearched
from alignhmr.deployments.serving import build
from alignhmr.deployments.serving.app import Ingress
from alignhmr.deployments.serving.build import application, build_app
from alignhmr.deployments.serving.command import read_settings
from alignhmr.deployments.serving.settings import Pool, ServeSettings


def deployments(app: serve.Application) -> dict[str, serve.Deployment]:
    ingress = app._bound_deployment
    models = [argument._bound_deployment for argument in ingress.init_args[:2]]
    return {each.name: each for each in (ingress, *models)}


def test_the_default_application_has_one_replica_of_each_kind():
    each = deployments(application)
    assert set(each) == {Ingress.name, "Perception", "Recovery"}
    assert each["Perception"].num_replicas == each["Recovery"].num_replicas == 1


def test_each_kind_scales_by_itself_and_down_to_nothing_where_it_may():
    settings = ServeSettings(
        perception=Pool(min_replicas=2, max_replicas=5, max_queued=7),
        recovery=Pool(min_replicas=0, max_replicas=1, gpus_per_replica=0.5, max_ongoing=6),
    )
    each: dict[str, Any] = dict(deployments(build_app(settings)))
    scaling = {name: each[name]._deployment_config.autoscaling_config for name in ("Perception", "Recovery")}
    assert (scaling["Perception"].min_replicas, scaling["Perception"].max_replicas) == (2, 5)
    assert each["Perception"].max_queued_requests == 7
    assert (scaling["Recovery"].min_replicas, scaling["Recovery"].max_replicas) == (0, 1)
    assert scaling["Recovery"].target_ongoing_requests == 3
    assert each["Recovery"].ray_actor_options["num_gpus"] == 0.5


def test_the_settings_that_operators_are_told_of_are_settings(tmp_path):
    blocks = Path(build.__file__).with_name("README.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 3
    for block in blocks:
        file = tmp_path / "settings.yaml"
        file.write_text(block.partition("```")[0])
        assert read_settings(file) != ServeSettings()


@pytest.mark.parametrize(
    ("text", "word"),
    [("recovery: {replicas: 3}", "recovery.replicas"), ("- 1", "dictionary"), ("a: [", "no YAML")],
)
def test_a_wrong_file_of_settings_is_refused_by_its_key(tmp_path, text, word):
    file = tmp_path / "settings.yaml"
    with pytest.raises(InputError, match="can't be read"):
        read_settings(file)
    file.write_text(text)
    with pytest.raises(InputError, match=word):
        read_settings(file)


def test_the_settings_reach_the_models(monkeypatch):
    recoverer, finder = {}, {}
    monkeypatch.setattr(build.Recoverer, "load", lambda **options: recoverer.update(options))
    monkeypatch.setattr(build, "load_detector", lambda *names, **options: finder.update(options, names=names))
    settings = ServeSettings(
        base="b", scorer="s", body="y", detector="rtdetr-vitpose",
        perception=Pool(device="cpu", threads=2), recovery=Pool(device="cuda", threads=3),
    )  # fmt: skip
    build.load_recoverer(settings)
    build.load_finder(settings)
    assert isinstance(recoverer.pop("detector"), NobodySearched)
    assert recoverer == {"base": "b", "scorer": "s", "body": "y", "device": "cuda", "threads": 3}
    assert finder == {"names": ("rtdetr-vitpose", "cpu"), "threads": 2}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"replica_count": 3}, "replica_count"),
        ({"limits": {"max_pixel": 3}}, "max_pixel"),
        ({"recovery": {"replicas": 3}}, "replicas"),
        ({"recovery": {"min_replicas": -1}}, "min_replicas"),
        ({"recovery": {"min_replicas": 2}}, "more than max_replicas 1"),
    ],
)
def test_an_unknown_or_impossible_setting_is_refused(given, word):
    with pytest.raises(ValidationError, match=word):
        ServeSettings.model_validate(given)
