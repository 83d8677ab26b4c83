"""A launch on Kubernetes is made of config, template and generation; what cannot run there is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.runners.k8s.rendering import (
    CLUSTER,
    GENERATION,
    IN_CLUSTER,
    config_of,
    kind,
    launch_of,
    rendered,
    template_of,
)
from tillstream.cli import app
from tillstream.pipelines.errors import MissingToolError, UserError
from tillstream.runners.k8s import chart, launching
from tillstream.runners.k8s.names import resource_of


def test_equal_launches_are_equal_manifests(tmp_path: Path) -> None:
    """Rendering again gives the same, byte by byte, so applying it again changes nothing."""
    launch = launch_of(config_of("acme"), tmp_path)
    assert rendered(launch) == rendered(launch)


def test_a_later_launch_of_the_same_is_known(tmp_path: Path) -> None:
    """The digest does not depend on the time, also where `latest` becomes one; on all else it does."""
    config = config_of("acme")
    kafka = config.source.kafka
    assert kafka is not None
    source = config.source.model_copy(update={"kafka": kafka.model_copy(update={"start": "latest"})})
    launch = launch_of(config.model_copy(update={"source": source}), tmp_path)
    later = launch.at(GENERATION + 1)
    assert later.digest() == launch.digest()
    assert later.values()["job"]["digest"] != launch.values()["job"]["digest"]
    start = launch.parameters().overrides["/source/kafka/start"]
    assert start["timestamp"].startswith("2023-11-14T22:13:20")
    other = config_of("acme", TILLSTREAM_WAREHOUSE_PORT="6432")
    assert launch_of(other, tmp_path).digest() != launch.digest()


def test_a_savepoint_redeploys_the_job(tmp_path: Path) -> None:
    """The operator does so once for each nonce: it is the generation, which every launch has anew."""
    launch = launch_of(config_of("acme"), tmp_path)
    job = kind(rendered(launch), "FlinkDeployment")["acme"]["spec"]["job"]
    assert not {"initialSavepointPath", "savepointRedeployNonce"} & job.keys()
    from_savepoint = launching.replace(launch, savepoint="s3://state/savepoint-1", suspended=True)
    job = kind(rendered(from_savepoint), "FlinkDeployment")["acme"]["spec"]["job"]
    assert job["initialSavepointPath"] == "s3://state/savepoint-1"
    assert job["savepointRedeployNonce"] == GENERATION
    assert job["state"] == "suspended"


def test_another_clients_template_is_refused(tmp_path: Path) -> None:
    """The template's manifest says whose it is."""
    launch = launch_of(config_of("acme"), tmp_path)
    template = template_of(config_of("globex"), tmp_path / "other.jar")
    with pytest.raises(UserError, match="found a template of client globex, expected one of acme"):
        launching.replace(launch, template=template).values()


def test_a_job_that_ends_is_refused(tmp_path: Path) -> None:
    """Files are read once; a deployment runs until it is stopped."""
    config = config_of("acme")
    source = config.source.model_copy(update={"kafka": None})
    launch = launch_of(config.model_copy(update={"source": source}), tmp_path)
    with pytest.raises(UserError, match=r"found source\.files, expected source\.kafka"):
        launch.values()


def test_a_job_that_no_configmap_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is told, and what to do."""
    monkeypatch.setattr(launching, "_CONFIG_MAP_BYTES_MAX", 1000)
    with pytest.raises(UserError, match=r"expected at most 1, which fit into a ConfigMap"):
        launch_of(config_of("acme"), tmp_path).values()


@pytest.mark.parametrize(("client", "name"), [("acme", "acme"), ("big_shop_2", "big-shop-2")])
def test_a_client_has_a_name_on_kubernetes(client: str, name: str) -> None:
    """RFC 1123 knows no underscore."""
    assert resource_of(client) == name
    with pytest.raises(UserError, match="found _ at its end"):
        resource_of(client + "_")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"image": "registry.example/tillstream:latest"}, "image"),
        ({"image": ""}, "image: found none"),
        ({"storage": {"dir": ""}}, "storage.dir: found none"),
        ({"network": {"apiServer": {"cidrs": []}}}, "network.apiServer.cidrs: found none"),
        ({"taskManagr": {"slots": 2}}, "taskManagr"),
        ({"taskManager": {"slot": 2}}, "slot"),
        ({"serviceAccount": {"annotations": {"role": "of all"}}}, "annotations"),
        ({"state": {"backend": "rocksdb"}}, "state"),
        ({"flinkConfiguration": {"parallelism.default": 2}}, "flinkConfiguration"),
    ],
)
def test_a_wrong_value_is_refused(value: dict[str, object], said: str, tmp_path: Path) -> None:
    """What is missing, misspelt or of the wrong form is named; a tag is no digest."""
    with pytest.raises(UserError) as refused:
        rendered(launch_of(config_of("acme"), tmp_path), **value)
    assert said in str(refused.value)


def test_values_files_are_merged_as_helm_does(tmp_path: Path) -> None:
    """Maps are merged, all else is replaced; a file that is no map is refused."""
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("a: {b: 1, c: [1]}\nd: 1\n", encoding="utf-8")
    second.write_text("a: {c: [2]}\n", encoding="utf-8")
    assert chart.read_values([first, second]) == {"a": {"b": 1, "c": [2]}, "d": 1}
    second.write_text("- a\n", encoding="utf-8")
    with pytest.raises(UserError, match="found list, expected a map"):
        chart.read_values([second])


def test_without_helm_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the command nor the library: one sentence."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(chart.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingToolError, match="found no helm"):
        chart.render({}, name="acme", namespace="acme")


def test_the_helm_of_the_machine_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given chart, name, namespace and all values in one file; what it refuses is passed on."""
    program = tmp_path / "helm"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "values = json.load(open(sys.argv[-1]))\n"
        "if not values: sys.exit('Error: values: found none')\n"
        "print('---\\nkind: ConfigMap')\n"
        "print(json.dumps({'metadata': {'name': 'x', 'asked': sys.argv[1:6], 'values': values}})[1:-1])\n",
        encoding="utf-8",
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = chart.render({"image": "i"}, name="acme", namespace="apps")
    assert found["metadata"]["values"] == {"image": "i"}
    assert found["metadata"]["asked"] == ["template", "acme", str(chart.CHART), "--namespace", "apps"]
    with pytest.raises(UserError, match="chart: values: found none"):
        chart.render({}, name="acme", namespace="apps")


def test_the_command_writes_a_file_for_each_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`k8s render --template -o`: what comes out is what the function gives."""
    for name, value in IN_CLUSTER.items():
        monkeypatch.setenv(name, value)
    values = tmp_path / "values.yaml"
    values.write_text(chart.yaml.safe_dump(CLUSTER), encoding="utf-8")
    launch = launch_of(config_of("acme"), tmp_path)
    arguments = ["k8s", "render", "acme", "--template", str(launch.template), "-f", str(values)]
    arguments += ["--generation", str(GENERATION)]
    answer = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    found = list(chart.yaml.safe_load_all((tmp_path / "out" / "acme.yaml").read_text(encoding="utf-8")))
    assert found == rendered(launch)
    answer = CliRunner().invoke(app, [*arguments, "--only-values"])
    only = chart.yaml.safe_load(answer.stdout)
    assert only["client"]["endpoints"][1]["host"] == "db.sales.svc.cluster.local"
    # Helm owns nothing that it has not made, and the Secret wants its namespace before.
    assert "Namespace" in {each["kind"] for each in found}
    made = chart.render(chart.merged(CLUSTER, only), name="acme", namespace="apps")
    assert "Namespace" not in {each["kind"] for each in made}


def test_a_service_that_opens_its_namespace_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods of a namespace cannot be told apart by a service's name; one that is placed is not told."""
    for name, value in IN_CLUSTER.items():
        monkeypatch.setenv(name, value)
    place = {"podSelector": {"matchLabels": {"app": "db"}}}
    cluster = chart.merged(CLUSTER, {"network": {"peers": {"db.sales.svc.cluster.local": {"to": [place]}}}})
    values = tmp_path / "values.yaml"
    values.write_text(chart.yaml.safe_dump(cluster), encoding="utf-8")
    template = launch_of(config_of("acme"), tmp_path).template
    answer = CliRunner().invoke(
        app, ["k8s", "render", "acme", "--template", str(template), "-f", str(values)]
    )
    (line,) = [each for each in answer.stderr.splitlines() if each.startswith("warning: ")]
    assert line.startswith(
        "warning: source-kafka: bootstrap.kafka.svc opens port 9092 of every pod in namespace kafka"
    )


def test_what_travels_beside_the_job_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ConfigMap holds the jar and the files together."""
    monkeypatch.setattr(launching, "_CONFIG_MAP_BYTES_MAX", 100_000)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(bytes(100_000))
    config = config_of("acme")
    kafka = config.source.kafka
    assert kafka is not None
    launch_of(config, tmp_path).values()
    source = config.source.model_copy(update={"kafka": kafka.model_copy(update={"ssl_ca_file": str(ca)})})
    with pytest.raises(UserError, match=r"which fit into a ConfigMap"):
        launch_of(config.model_copy(update={"source": source}), tmp_path).values()
