"""A client's job reaches its own sources and sinks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runners.k8s.rendering import Manifests, config_of, kind, launch_of, pod, rendered
from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError
from tillstream.runners.k8s.reach import Endpoint, endpoints_of

PODS = {"tillstream.dev/client": "globex"}
WORKERS = {**PODS, "component": "taskmanager"}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _rule(to: dict[str, Any], *ports: int) -> dict[str, Any]:
    return {"to": [to], "ports": [{"protocol": "TCP", "port": port} for port in ports]}


def test_what_no_policy_allows_is_denied(manifests: Callable[[str], Manifests]) -> None:
    """One policy selects all of the client's pods, for both directions, and allows nothing."""
    policy = kind(manifests("globex"), "NetworkPolicy")["globex-isolated"]["spec"]
    assert policy == {"podSelector": {"matchLabels": PODS}, "policyTypes": ["Ingress", "Egress"]}
    for role in ("jobManager", "taskManager"):
        (deployment,) = kind(manifests("globex"), "FlinkDeployment").values()
        labels = deployment["spec"][role]["podTemplate"]["metadata"]["labels"]
        assert PODS.items() <= labels.items()


@pytest.mark.parametrize("client", ["acme", "globex"])
def test_every_source_and_sink_has_a_policy_of_its_own(
    client: str, manifests: Callable[[str], Manifests]
) -> None:
    """One for each address out of the config, and none besides."""
    policies = set(kind(manifests(client), "NetworkPolicy"))
    config = config_of(client)
    wanted = {f"{client}-to-{each.name}" for each in endpoints_of(config)}
    assert {f"{client}-to-sink-warehouse", f"{client}-to-source-kafka"} <= wanted
    assert policies == wanted | {f"{client}-isolated", f"{client}-flink"}


def test_only_what_runs_stages_reaches_a_sink(manifests: Callable[[str], Manifests]) -> None:
    """The policy is for TaskManagers, to the namespace that the host names, to the port of the config."""
    policy = kind(manifests("globex"), "NetworkPolicy")["globex-to-sink-warehouse"]["spec"]
    assert policy == {
        "podSelector": {"matchLabels": WORKERS},
        "policyTypes": ["Egress"],
        "egress": [_rule(_namespace("sales"), 5432)],
    }


def test_an_address_is_a_block_of_one(tmp_path: Path) -> None:
    """What is no service of the cluster is told by its address."""
    config = config_of("globex", TILLSTREAM_WAREHOUSE_HOST="10.1.2.3")
    policy = kind(rendered(launch_of(config, tmp_path)), "NetworkPolicy")["globex-to-sink-warehouse"]
    assert policy["spec"]["egress"] == [_rule({"ipBlock": {"cidr": "10.1.2.3/32"}}, 5432)]


def test_a_name_outside_of_the_cluster_must_be_placed(tmp_path: Path) -> None:
    """Network policies know no names: without its place the host is refused, with it the rule is made."""
    config = config_of("globex", TILLSTREAM_WAREHOUSE_HOST="db.example.com")
    launch = launch_of(config, tmp_path)
    with pytest.raises(
        UserError, match=r"network\.peers: found nothing for db\.example\.com of sink-warehouse"
    ):
        rendered(launch)
    block = {"ipBlock": {"cidr": "192.0.2.0/24"}}
    network = {"apiServer": {"cidrs": ["10.96.0.1/32"]}, "peers": {"db.example.com": {"to": [block]}}}
    policy = kind(rendered(launch, network=network), "NetworkPolicy")["globex-to-sink-warehouse"]
    assert policy["spec"]["egress"] == [_rule(block, 5432)]


def test_the_pods_talk_to_each_other_to_names_and_to_the_api(manifests: Callable[[str], Manifests]) -> None:
    """Flink's own traffic, DNS and high availability; from outside only the operator, to the REST port."""
    policy = kind(manifests("globex"), "NetworkPolicy")["globex-flink"]["spec"]
    own, dns, api = policy["egress"]
    assert own == {"to": [{"podSelector": {"matchLabels": PODS}}]}
    assert {port["port"] for port in dns["ports"]} == {53}
    assert api["to"] == [{"ipBlock": {"cidr": "10.96.0.1/32"}}]
    inner, operator = policy["ingress"]
    assert inner == {"from": own["to"]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8081}]


def _config(**sinks: Any) -> ClientConfig:
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k-0.k.svc:9092,k-1.k.svc:9092,k-0.k.svc:9093"}},
            "entities": {"things": {"topic": "t", "key": ["id"], "sinks": list(sinks)}},
            "sinks": sinks,
            "delivery": {"guarantee": "at-least-once"},
        }
    )


def test_every_kind_of_sink_tells_where_it_is() -> None:
    """Hosts and ports of all kinds; files have none."""
    found = endpoints_of(
        _config(
            files={"type": "files", "path": "/out"},
            to_http={"type": "http", "url": "https://api.example/{entity}"},
            bus={"type": "kafka", "bootstrap_servers": "bus.b.svc:9092"},
            bucket={"type": "gcs", "bucket": "things"},
        )
    )
    assert found == [
        Endpoint("source-kafka", "k-0.k.svc", (9092, 9093)),
        Endpoint("source-kafka.2", "k-1.k.svc", (9092,)),
        Endpoint("sink-to-http", "api.example", (443,)),
        Endpoint("sink-bus", "bus.b.svc", (9092,)),
        Endpoint("sink-bucket", "storage.googleapis.com", (443,)),
        Endpoint("sink-bucket.2", "169.254.169.254", (80,)),
    ]


def test_this_machine_is_none_that_a_pod_reaches() -> None:
    """Loopback addresses are refused, each with its place in the config."""
    config = config_of("acme", TILLSTREAM_KAFKA="127.0.0.1:9092", TILLSTREAM_WAREHOUSE_HOST="localhost")
    with pytest.raises(UserError) as refused:
        endpoints_of(config)
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "source.kafka.bootstrap_servers",
        "sinks.warehouse.host",
    ]


def test_a_folder_of_files_is_a_claim(manifests: Callable[[str], Manifests], tmp_path: Path) -> None:
    """Files go to a PersistentVolumeClaim, mounted where the config writes; without one it is refused."""
    (volume,) = [
        each for each in pod(manifests("globex"), "taskManager")["volumes"] if each["name"] == "sink-archive"
    ]
    assert volume["persistentVolumeClaim"] == {"claimName": "globex-archive"}
    with pytest.raises(UserError, match="claims: found none of sink archive"):
        rendered(launch_of(config_of("globex"), tmp_path), claims={"archive": ""})
