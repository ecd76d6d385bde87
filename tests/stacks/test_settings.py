import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from stacks.configuration import own
from stacks.mistakes import SettingsError, models_in
from stacks.reading import load_stack_file, parse
from stacks.rules import warnings
from stacks.settings import Settings

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 28)
"""All versions in use are in standard support."""

FILE = "stacks/Pulumi.dev.yaml"


def _refusal(values: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        parse(values, FILE)
    return str(refused.value)


EXISTING = {"vpcId": "vpc-0abc", "privateSubnetIds": ["subnet-1", "subnet-2"]}

REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is wrong: (settings, the key, the reason, the remedy)
    "unknown key": (
        {"vpcCni": {"podEnl": True}},
        "eks-node-local-dns:vpcCni.podEnl:",
        "a misspelt one must not be ignored",
        "Did you mean podEni?",
    ),
    "unknown top-level key": (
        {"serviceCIDR": "10.100.0.0/16"},
        "eks-node-local-dns:serviceCIDR:",
        "there is no such setting",
        "Did you mean serviceCidr?",
    ),
    "wrong type": (
        {"nodeGroups": {"default": {"instanceTypes": ["m6i.large"], "minSize": "many"}}},
        "eks-node-local-dns:nodeGroups.default.minSize:",
        'it is "many", which the program cannot use. It means: Nodes at least.',
        "Correct the value.",
    ),
    "overlap": (
        {"serviceCidr": "10.10.128.0/20", "network": {"cidr": "10.10.0.0/16"}},
        "serviceCidr 10.10.128.0/20 overlaps network.cidr 10.10.0.0/16",
        "pods could not tell Services from hosts of the VPC",
        "Move one of them, e.g. serviceCidr to 172.20.0.0/16.",
    ),
    "overlap of the usual": (
        {"network": {"cidr": "172.20.0.0/16"}},
        "serviceCidr 172.20.0.0/16 overlaps network.cidr 172.20.0.0/16",
        "pods could not tell Services from hosts of the VPC",
        "e.g. serviceCidr to 10.100.0.0/16.",
    ),
    "overlap with a VPC that exists": (
        {"serviceCidr": "10.30.128.0/20", "network": {"cidr": "10.30.0.0/16", "existing": EXISTING}},
        "serviceCidr 10.30.128.0/20 overlaps network.cidr 10.30.0.0/16",
        "pods could not tell Services from hosts of the VPC",
        "Move one of them",
    ),
    "a VPC that exists, without its CIDR": (
        {"serviceCidr": "10.0.0.0/16", "network": {"existing": EXISTING}},
        "eks-node-local-dns:network: cidr is missing beside existing",
        "without it nobody can tell whether Services and the cache's address overlap",
        "Add the VPC's CIDR",
    ),
    **{
        f"{key} of a VPC that exists": (
            {"network": {"cidr": "10.30.0.0/16", "existing": EXISTING, key: value}},
            f"eks-node-local-dns:network: {key} says how a VPC is made",
            "so it would have no effect",
            f"Remove {key}, or remove existing",
        )
        for key, value in {"zones": ["a", "b"], "nat": "single"}.items()
    },
    "no VPC's id": (
        {"network": {"cidr": "10.30.0.0/16", "existing": {**EXISTING, "vpcId": "shop"}}},
        "eks-node-local-dns:network.existing.vpcId: 'shop' is not the id of a vpc",
        "AWS would say so only half-way through",
        "Write it like vpc-",
    ),
    "no subnet's id": (
        {"network": {"cidr": "10.30.0.0/16", "existing": {**EXISTING, "privateSubnetIds": ["subnet-1", "foo"]}}},
        "eks-node-local-dns:network.existing.privateSubnetIds.1: 'foo' is not the id of a subnet",
        "AWS would say so only half-way through",
        "Write it like subnet-",
    ),
    "one subnet twice": (
        {"network": {"cidr": "10.30.0.0/16", "existing": {**EXISTING, "privateSubnetIds": ["subnet-1", "subnet-1"]}}},
        "eks-node-local-dns:network.existing: subnet-1 is named twice",
        "nodes would be in fewer zones than it seems",
        "Name each subnet once",
    ),
    "one subnet": (
        {"network": {"cidr": "10.30.0.0/16", "existing": {**EXISTING, "privateSubnetIds": ["subnet-1"]}}},
        "eks-node-local-dns:network.existing.privateSubnetIds: 1 subnet is too few",
        "EKS refuses a cluster with subnets in fewer than two zones",
        "Name at least two",
    ),
    "one subnet private and public": (
        {"network": {"cidr": "10.30.0.0/16", "existing": {**EXISTING, "publicSubnetIds": ["subnet-2"]}}},
        "eks-node-local-dns:network.existing: subnet-2 is named twice",
        "nodes would be in fewer zones than it seems",
        "as private or as public",
    ),
    "five zones": (
        {"network": {"zones": list("abcde")}},
        "eks-node-local-dns:network: 5 zones",
        "more than the 4 that a VPC made here has room for",
        "Name fewer",
    ),
    "a zone with its region": (
        {"network": {"zones": ["eu-central-1a", "b"]}},
        "eks-node-local-dns:network.zones.0: 'eu-central-1a' is not the letter of a zone",
        "the region comes from aws:region",
        "like a for eu-central-1a",
    ),
    "no instance type": (
        {"nodeGroups": {"default": {"instanceTypes": ["m6i.lrage"]}}},
        "eks-node-local-dns:nodeGroups.default.instanceTypes: 'm6i.lrage' is not an EC2 instance type",
        "for nodes",
        "Write it like m6i.large",
    ),
    "two architectures": (
        {"nodeGroups": {"default": {"instanceTypes": ["m6i.large", "m7g.large", "c7g.large"]}}},
        "nodeGroups.default.instanceTypes: m7g.large, c7g.large are arm64 and m6i.large is x86_64",
        "the nodes of a group start from one image",
        "Make two node groups",
    ),
    "an administrator without an ARN": (
        {"cluster": {"admins": ["alice"]}},
        "eks-node-local-dns:cluster.admins.0: 'alice' is not the ARN of an IAM role or user",
        "EKS would say only after the cluster was made",
        "like arn:aws:iam::111122223333:role/platform",
    ),
    "a session as administrator": (
        {"cluster": {"admins": ["arn:aws:sts::111122223333:assumed-role/platform/alice"]}},
        "eks-node-local-dns:cluster.admins.0:",
        "is not the ARN of an IAM role or user",
        "of a session, the ARN of its role",
    ),
    "an account as administrator": (
        {"cluster": {"admins": ["arn:aws:iam::111122223333:root"]}},
        "eks-node-local-dns:cluster.admins.0: arn:aws:iam::111122223333:root is an account",
        "EKS admits roles and users only",
        "Name the roles or users",
    ),
    "an administrator twice": (
        {"cluster": {"admins": ["arn:aws:iam::111122223333:role/a", "arn:aws:iam::111122223333:role/a"]}},
        "eks-node-local-dns:cluster.admins: arn:aws:iam::111122223333:role/a is there twice",
        "EKS makes one access entry for it",
        "Name each once",
    ),
    **{
        f"kube-proxy {version}": (
            {"kubernetesVersion": "1.35", "addonVersions": {"kubeProxy": version}},
            f"addonVersions.kubeProxy {version} does not fit Kubernetes 1.35",
            "EKS would refuse it after the cluster was made",
            "Use a v1.35 one",
        )
        for version in ("v1.28.1-eksbuild.1", "v1.31.9-eksbuild.1", "v1.36.0-eksbuild.1", "v2.35.0-eksbuild.1")
    },
    "no add-on version": (
        {"addonVersions": {"coreDns": "1.14.3"}},
        "eks-node-local-dns:addonVersions.coreDns: '1.14.3' is not an EKS add-on version",
        "changes by itself between two previews",
        "Write it like v1.23.1-eksbuild.1",
    ),
    "no amount of CPU": (
        {"nodeLocalDns": {"cpuRequest": "lots"}},
        "eks-node-local-dns:nodeLocalDns.cpuRequest: 'lots' is no amount of CPU",
        "Kubernetes would say so only once everything else is there",
        "like 25m",
    ),
    "no name for a node group": (
        {"nodeGroups": {"Bad Name!": {"instanceTypes": ["m6i.large"]}}},
        "eks-node-local-dns:nodeGroups.Bad Name!",
        "'Bad Name!' is no name for a node group",
        "at most 40 letters",
    ),
    **{
        f"label {key}": (
            {"nodeGroups": {"a": {"instanceTypes": ["m6i.large"], "labels": {key: value}}}},
            "eks-node-local-dns:nodeGroups.a.labels: ",
            "would refuse it after the cluster was made",
            "example.com/team",
        )
        for key, value in {
            "not a label": "x",
            "ok": "not a value",
            "Bad.Prefix/x": "y",
            "/x": "y",
            "x" * 64: "",
        }.items()
    },
    "a label of somebody else": (
        {"nodeGroups": {"a": {"instanceTypes": ["m6i.large"], "labels": {"kubernetes.io/role": "x"}}}},
        "eks-node-local-dns:nodeGroups.a.labels: kubernetes.io/role has a prefix that EKS keeps for itself",
        "would refuse after the cluster was made",
        "Use a prefix of your own",
    ),
    "a tag of AWS": (
        {"tags": {"AWS:owner": "x"}},
        "eks-node-local-dns:tags: AWS:owner begins with aws:",
        "AWS keeps for itself",
        "Rename it",
    ),
    "a long tag": (
        {"tags": {"note": "x" * 257}},
        "eks-node-local-dns:tags: 'note' has a key of 4 characters and a value of 257",
        "refuses the rest half-way through",
        "Shorten it",
    ),
    "a strange tag": (
        {"tags": {"note": "a;b"}},
        "eks-node-local-dns:tags: note: a;b has a character that IAM and EKS refuse",
        "half-way through",
        "Use letters",
    ),
    "many tags": (
        {"tags": {f"key{number}": "x" for number in range(46)}},
        "eks-node-local-dns:tags: there are 46",
        "AWS would refuse them",
        "Keep at most 45",
    ),
    "the internet in halves": (
        {"cluster": {"publicAccessCidrs": ["0.0.0.0/1", "128.0.0.0/1"]}},
        "eks-node-local-dns:cluster.publicAccessCidrs: 0.0.0.0/1, 128.0.0.0/1 together are the whole internet",
        "anybody could try the cluster's API",
        "Name the networks of your people",
    ),
    "no cluster's name": (
        {"cluster": {"name": "my cluster"}},
        "eks-node-local-dns:cluster.name: 'my cluster' is no name that EKS takes",
        "EKS takes",
        "like shop-dev",
    ),
    "Python's spelling": (
        {"vpcCni": {"pod_eni": False}},
        "eks-node-local-dns:vpcCni.pod_eni:",
        "there is no such setting",
        "Did you mean podEni?",
    ),
    "nothing to start from": (
        {"nodeGroups": {"default": {"minSize": 1}}},
        "eks-node-local-dns:nodeGroups.default.instanceTypes: it is missing",
        "It means: EC2 instance types",
        'Add it, e.g. instanceTypes: ["m6i.large"].',
    ),
    "VPC too small": (
        {"network": {"cidr": "10.10.0.0/24"}},
        "eks-node-local-dns:network:",
        "too small for 4 zones, used or not",
        "Choose a VPC of /21 or larger.",
    ),
    "service CIDR too small": (
        {"serviceCidr": "10.100.0.0/28"},
        "eks-node-local-dns:serviceCidr:",
        "has a /28 prefix",
        "e.g. 172.20.0.0/16",
    ),
    "strict": (
        {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}},
        "vpcCni.podSecurityGroupEnforcingMode is strict",
        "every name it asks would time out",
        "Set the mode to standard",
    ),
    "local address not link-local": (
        {"nodeLocalDns": {"localAddress": "10.0.0.10"}},
        "nodeLocalDns.localAddress: 10.0.0.10 is not link-local",
        "it would hide the host or Service that owns it",
        "by default 169.254.20.10",
    ),
    "local address of a host": (
        {"network": {"cidr": "169.254.0.0/18"}},
        "nodeLocalDns.localAddress: 169.254.20.10 is in network.cidr (169.254.0.0/18)",
        "every node would lose the host, pod or Service that owns it",
        "Choose a link-local address outside 169.254.0.0/18.",
    ),
    "TTL of nothing": (
        {"nodeLocalDns": {"corefile": {"external": {"successTtl": 0}}}},
        "nodeLocalDns.corefile.external.successTtl: it has to be at least 1, but it is 0",
        "CoreDNS does not start with 0",
        "1 is as good as no cache",
    ),
    "negative size": (
        {"nodeLocalDns": {"corefile": {"cluster": {"denialCapacity": -1}}}},
        "nodeLocalDns.corefile.cluster.denialCapacity: it has to be at least 1024, but it is -1",
        "CoreDNS takes any smaller number for 1024",
        "Correct the value",
    ),
    "unknown plugin": (
        {"nodeLocalDns": {"corefile": {"extraPlugins": ["kubernetes cluster.local"]}}},
        "nodeLocalDns.corefile.extraPlugins: 'kubernetes cluster.local' is no plugin that can be added",
        "node-cache would not start with it",
        "Use one of: bufsize 1232, loadbalance round_robin, pprof, template IN AAAA",
    ),
    "upstream that is the cache": (
        {"nodeLocalDns": {"corefile": {"upstreamServers": ["172.20.0.10"]}}},
        "nodeLocalDns.corefile.upstreamServers: 172.20.0.10 is the address of the cache itself",
        "it would ask itself until it stops",
        "Name the server that knows the answer",
    ),
    "alerts without metrics": (
        {"nodeLocalDns": {"observability": {"prometheusRule": True}}},
        "nodeLocalDns.observability: prometheusRule is on and podMonitor is off",
        "NodeLocalDnsAbsent would fire for ever",
        "Set podMonitor to true",
    ),
    "no trunk": (
        {"nodeGroups": {"a": {"instanceTypes": ["t3.large"]}, "b": {"instanceTypes": ["t2.large"]}}},
        "nodeGroups.a.instanceTypes, nodeGroups.b.instanceTypes: t3.large, t2.large cannot carry branch network interf",
        "would stay Pending for ever",
        "Use a Nitro type such as m6i.large",
    ),
    "one zone": (
        {"network": {"zones": ["a"]}},
        "eks-node-local-dns:network.zones:",
        "EKS refuses a cluster with subnets in fewer than two",
        "Name at least two",
    ),
    "add-on too old": (
        {"addonVersions": {"vpcCni": "v1.12.0-eksbuild.1"}},
        "addonVersions.vpcCni v1.12.0-eksbuild.1 does not know POD_SECURITY_GROUP_ENFORCING_MODE",
        "EKS would refuse the add-on after the cluster was made",
        "Use v1.12.1 or newer",
    ),
    "Kubernetes not pinned": (
        {"kubernetesVersion": "1.29"},
        "eks-node-local-dns:kubernetesVersion:",
        "has no pinned add-on versions",
        "Use one of 1.34, 1.35",
    ),
    "two clusters": (
        {"source": {"stack": "organization/eks-node-local-dns/dev", "clusterName": "shop"}},
        "eks-node-local-dns:source: both stack (organization/eks-node-local-dns/dev) and clusterName (shop) are set",
        "they could mean two clusters",
        "Keep one",
    ),
    "half a stack's name": (
        {"source": {"stack": "dev"}},
        "eks-node-local-dns:source.stack: 'dev' is not the full name of a stack",
        "it could mean another one on another machine",
        "Write organization/project/stack",
    ),
    "managing what is managed": (
        {"vpcCni": {"manage": True}},
        "eks-node-local-dns:vpcCni.manage:",
        "of a cluster made here all of vpc-cni is managed",
        "Remove the key.",
    ),
    **{
        f"{key} of a cluster that exists": (
            {"source": {"clusterName": "shop"}, key: value},
            f"eks-node-local-dns:{key}:",
            "it says how a cluster is made, but source names one that exists",
            "Remove the key, or remove source to make a cluster here.",
        )
        for key, value in {
            "kubernetesVersion": "1.35",
            "serviceCidr": "172.20.0.0/16",
            "network": {"nat": "single"},
            "cluster": {"logRetentionDays": 30},
            "nodeGroups": {"a": {"instanceTypes": ["m6i.large"]}},
            "tags": {"environment": "dev"},
        }.items()
    },
    "a version of what is not managed": (
        {"source": {"clusterName": "shop"}, "addonVersions": {"vpcCni": "v1.23.1-eksbuild.1"}},
        "eks-node-local-dns:addonVersions.vpcCni:",
        "whose add-on this stack does not manage, so the version would have no effect",
        "Remove the key, or set vpcCni.manage to true.",
    ),
    "a version of what is never managed": (
        {"source": {"clusterName": "shop"}, "addonVersions": {"coreDns": "v1.14.3-eksbuild.22"}},
        "eks-node-local-dns:addonVersions.coreDns:",
        "so the version would have no effect",
        "Remove the key.",
    ),
    "the mode of what is not managed": (
        {"source": {"clusterName": "shop"}, "vpcCni": {"podSecurityGroupEnforcingMode": "standard"}},
        "eks-node-local-dns:vpcCni.podSecurityGroupEnforcingMode:",
        "whose vpc-cni this stack only looks at, so it would have no effect",
        "Set vpcCni.manage to true to take it over, or remove the key.",
    ),
    "more of a CNI than is ours": (
        {"source": {"clusterName": "shop"}, "vpcCni": {"manage": True, "externalSnat": True}},
        "eks-node-local-dns:vpcCni.externalSnat:",
        "of its vpc-cni only podEni and podSecurityGroupEnforcingMode are ever set here",
        "set it where the cluster's other settings are",
    ),
    "the whole internet": (
        {"cluster": {"publicAccessCidrs": ["0.0.0.0/0"]}},
        "eks-node-local-dns:cluster.publicAccessCidrs:",
        "the whole internet",
        "Name the networks of your people",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_key_file_reason_and_remedy(case: str) -> None:
    """Who made the mistake is told where it is, why it matters and what to write instead."""
    values, key, reason, remedy = REFUSED[case]
    message = _refusal(values)
    assert message.startswith(f"{FILE} has 1 mistake; nothing was created or changed.")
    for part in (key, reason, remedy):
        assert part in message


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.169.253",
        "169.254.169.123",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.171.1",
        "169.254.1.1",
    ],
)
def test_addresses_that_aws_uses_are_refused(address: str) -> None:
    """The cache never takes metadata, DNS, time, credentials or the pods' gateway from a node."""
    message = _refusal({"nodeLocalDns": {"localAddress": address}})
    assert f"nodeLocalDns.localAddress: {address} is in" in message
    assert "the node would lose it" in message


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody corrects a file five times."""
    message = _refusal({"kubernetesVersion": "1.29", "network": {"zones": ["a"]}, "tagz": {}})
    assert "has 3 mistakes" in message
    assert all(key in message for key in ("kubernetesVersion", "network.zones", "tagz"))


def test_mistakes_between_settings_are_told_together_and_beside_those_inside_one() -> None:
    """Every rule that can be judged is, in one run; one whose settings cannot be read is left for the next."""
    between = {
        "vpcCni": {"podSecurityGroupEnforcingMode": "strict"},
        "nodeGroups": {"default": {"instanceTypes": ["t3.large"]}},
        "addonVersions": {"vpcCni": "v1.12.0-eksbuild.1"},
        "serviceCidr": "10.0.128.0/20",
    }
    message = _refusal(between)
    assert "has 4 mistakes" in message
    message = _refusal({**between, "network": {"zones": ["a"]}})
    assert "has 4 mistakes" in message
    assert "network.zones" in message
    assert "overlaps" not in message  # nobody knows with which network


def test_what_belongs_to_a_cluster_that_exists_is_taken() -> None:
    """The cache's settings, and with vpcCni.manage our two keys and the add-on's version."""
    named = {"source": {"clusterName": "shop"}, "nodeLocalDns": {"localAddress": "169.254.25.10"}}
    assert not parse(named, FILE).source.made_here
    ours = {"manage": True, "podEni": True, "podSecurityGroupEnforcingMode": "standard"}
    assert parse({**named, "vpcCni": ours, "addonVersions": {"vpcCni": "v1.23.1-eksbuild.1"}}, FILE)
    assert not list(warnings(parse(named, FILE), TODAY))  # what surprises there is known once the cluster was asked


def test_empty_is_not_set() -> None:
    """A key of which Pulumi.yaml says that it is empty is one the stack file leaves out."""
    assert parse({"source": {"clusterName": "shop"}, "network": {}, "cluster": {}, "tags": {}}, FILE)


@pytest.mark.parametrize(
    ("corefile", "key"),
    [
        ({"upstreamServers": ["10.100.0.10"]}, "nodeLocalDns.corefile.upstreamServers: 10.100.0.10"),
        (
            {"stubDomains": {"corp.example": {"servers": ["169.254.20.10:53"]}}},
            "nodeLocalDns.corefile.stubDomains.corp.example: 169.254.20.10:53",
        ),
    ],
)
def test_an_upstream_that_is_the_cache_is_refused(corefile: dict[str, object], key: str) -> None:
    """The cache's own addresses are known from the settings, so a loop never gets as far as a cluster."""
    message = _refusal({"serviceCidr": "10.100.0.0/16", "nodeLocalDns": {"corefile": corefile}})
    assert f"{key} is the address of the cache itself" in message
    assert parse({"nodeLocalDns": {"corefile": {"upstreamServers": ["10.100.0.10"]}}}, FILE)


def test_a_path_is_the_setting_it_points_to() -> None:
    """What `pulumi new` asks for is written as paths, beside settings that are nested."""
    values = {"cluster.publicAccessCidrs": "203.0.113.0/24, 198.51.100.7/32", "cluster": {"logRetentionDays": 7}}
    cluster = parse(values, FILE).cluster
    assert [str(each) for each in cluster.public_access_cidrs] == ["203.0.113.0/24", "198.51.100.7/32"]
    assert cluster.log_retention_days == 7
    assert parse({"nodeLocalDns.corefile.external.successTtl": "60"}, FILE) == parse(
        {"nodeLocalDns": {"corefile": {"external": {"successTtl": 60}}}}, FILE
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cluster.name": "a", "cluster": {"name": "b"}}, "cluster.name: it is given twice"),
        ({"kubernetesVersion.minor": "1", "kubernetesVersion": "1.35"}, "kubernetesVersion is a value of its own"),
        ({"cluster.nam": "a"}, "eks-node-local-dns:cluster.nam: there is no such setting"),
        ({"cluster.publicAccessCidrs": "0.0.0.0/0"}, "the whole internet"),
    ],
)
def test_a_path_is_checked_like_any_setting(values: dict[str, Any], said: str) -> None:
    """A contradiction and a path to nowhere are told, not resolved."""
    assert said in _refusal(values)


def test_settings_of_another_project_are_not_ignored(tmp_path: Path) -> None:
    """Whoever gives a copy of the project another name is told how to rename its settings; then they count."""
    (tmp_path / "Pulumi.yaml").write_text("name: acme\n")
    file = tmp_path / "stacks" / "Pulumi.dev.yaml"
    file.parent.mkdir()
    file.write_text("config:\n  eks-node-local-dns:kubernetesVersion: '1.34'\n")
    with pytest.raises(SettingsError) as refused:
        load_stack_file(file)
    *_said, command = str(refused.value).partition("perl")
    subprocess.run(["bash", "-c", f"perl{command}"], check=True, cwd=tmp_path)
    assert load_stack_file(file).kubernetes_version == "1.34"


def test_strict_mode_is_allowed_where_it_cannot_hurt() -> None:
    """Without the cache, or without security groups for pods, strict mode is somebody's right."""
    strict = {"podSecurityGroupEnforcingMode": "strict"}
    assert parse({"vpcCni": strict, "nodeLocalDns": {"enabled": False}}, FILE)
    assert parse({"vpcCni": {**strict, "podEni": False}}, FILE)


def test_nodes_need_no_trunk_without_pod_interfaces() -> None:
    """Small burstable nodes are fine for who wants no security groups for pods."""
    assert parse({"vpcCni": {"podEni": False}, "nodeGroups": {"a": {"instanceTypes": ["t3.large"]}}}, FILE)


def test_small_nodes_are_fine_beside_others() -> None:
    """Pods with security groups are scheduled where branch interfaces are."""
    assert parse({"nodeGroups": {"a": {"instanceTypes": ["t3.large"]}, "b": {"instanceTypes": ["m6i.large"]}}}, FILE)


def test_off_vpc_traffic_is_warned_of_only_where_it_surprises() -> None:
    """The warning goes away with the setting it names."""
    assert _warned({}, "externalSnat is off")
    assert not _warned({"vpcCni": {"externalSnat": True}}, "externalSnat is off")


def _warned(values: dict[str, Any], said: str) -> bool:
    return any(said in each for each in warnings(parse(values, FILE), TODAY))


def test_a_private_endpoint_is_warned_of_before_it_costs_anything() -> None:
    """From a laptop the run would make a cluster and then fail inside it."""
    assert _warned({}, "publicAccessCidrs is empty")
    assert not _warned({"cluster": {"publicAccessCidrs": ["203.0.113.0/24"]}}, "publicAccessCidrs is empty")


def test_an_instance_type_nobody_here_knows_is_warned_of() -> None:
    """It may be newer than this program, so it is not refused."""
    groups = {"a": {"instanceTypes": ["m6i.large", "m9z.large"]}}
    assert _warned({"nodeGroups": groups}, "nodeGroups.a.instanceTypes: pulumi-aws does not know m9z.large")
    assert not _warned({}, "does not know")


def test_environments_differ_as_a_platform_team_would_have_them() -> None:
    """Production is private, protected and has no shared NAT; development is cheap."""
    stacks = {name: load_stack_file(ROOT / "stacks" / f"Pulumi.{name}.yaml") for name in ("dev", "stg", "prod")}
    assert [each.network.nat for each in stacks.values()] == ["single", "single", "perZone"]
    assert [each.vpc_cni.external_snat for each in stacks.values()] == [False, True, True]
    assert [len(each.network.zones) for each in stacks.values()] == [2, 3, 3]
    assert [each.cluster.deletion_protection for each in stacks.values()] == [False, False, True]
    assert not stacks["prod"].cluster.public_access_cidrs
    assert len({each.network.cidr for each in stacks.values()}) == len(stacks)  # so that they can be peered


def test_the_project_file_declares_every_top_level_setting() -> None:
    """The engine's view of the configuration is the model's, and every key is described."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    declared = {key: each for key, each in project.items() if ":" not in key}  # the engine's own have a namespace
    settings = parse({}, FILE)
    assert declared.keys() == {field.alias for field in type(settings).model_fields.values()}
    assert all(each["description"] for each in declared.values())


WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    # the key: (settings, what it says)
    "network": ({"network": "10.0.0.0/16"}, "it has to be a map of settings (cidr, zones, nat, existing), but it is"),
    "network.zones": ({"network": {"zones": "a"}}, 'it has to be a list, like [a, b], but it is "a"'),
    "network.cidr": ({"network": {"cidr": "10.0.0.1/16"}}, "it has to be an IPv4 network that begins where its prefix"),
    "network.nat": ({"network": {"nat": "many"}}, "it has to be one of 'single' or 'perZone', but it is \"many\""),
    "nodeGroups.a.instanceTypes": ({"nodeGroups": {"a": {"instanceTypes": []}}}, "it needs at least 1, but it is []"),
    "serviceCidr": ({"serviceCidr": ["10.0.0.0/16"]}, "it has to be an IPv4 network"),
    "kubernetesVersion": ({"kubernetesVersion": ["1.35"]}, "it has to be text (in quotes, if it looks like a number"),
    "vpcCni.podEni": ({"vpcCni": {"podEni": "perhaps"}}, "it has to be true or false"),
    "vpcCni": ({"vpcCni": ["podEni"]}, "it has to be a map of settings (manage, podEni,"),
    "nodeGroups": ({"nodeGroups": ["m6i.large"]}, "it has to be a map, like {name: value}"),
    "nodeGroups.a": ({"nodeGroups": {"a": "m6i.large"}}, "it has to be a map of settings (instanceTypes, minSize,"),
    "nodeGroups.a.minSize": (
        {"nodeGroups": {"a": {"instanceTypes": ["m6i.large"], "minSize": 1.5}}},
        "it has to be a whole number, but it is 1.5",
    ),
    "nodeGroups.a.diskSizeGib": (
        {"nodeGroups": {"a": {"instanceTypes": ["m6i.large"], "diskSizeGib": 5}}},
        "it has to be at least 20, but it is 5",
    ),
    "cluster.logRetentionDays": ({"cluster": {"logRetentionDays": 8}}, "it has to be one of 1, 3, 5, 7,"),
    "cluster.admins": ({"cluster": {"admins": "alice"}}, "it has to be a list, like [a, b]"),
    "tags": ({"tags": "[broken"}, 'it has to be a map, like {name: value}, but it is "[broken"'),
    "tags.cost": (
        {"tags": {"cost": 42}},
        "it has to be text (in quotes, if it looks like a number or true), but it is 42",
    ),
    "nodeLocalDns.corefile.external.successTtl": (
        {"nodeLocalDns": {"corefile": {"external": {"successTtl": "soon"}}}},
        "it has to be a whole number",
    ),
    "nodeLocalDns.corefile.stubDomains.corp.servers": (
        {"nodeLocalDns": {"corefile": {"stubDomains": {"corp": {}}}}},
        "it is missing, and nothing can stand in for it. It means: IP addresses",
    ),
}


@pytest.mark.parametrize("key", WRONG_TYPES)
def test_a_wrong_type_is_told_in_the_words_of_a_stack_file(key: str) -> None:
    """Nobody has to know what a tuple, a dictionary or a pattern is."""
    values, said = WRONG_TYPES[key]
    message = _refusal(values)
    [mistake] = [each for each in message.splitlines() if each.startswith(f"  eks-node-local-dns:{key}: ")]
    assert said in mistake
    assert not re.search(r"tuple|dictionary|instance of|pattern|valid|[Ii]nput|Field", mistake)
    assert mistake.endswith((".", "Correct the value.")), mistake


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a stack file of a project of its own, yet to be written."""
    (tmp_path / "Pulumi.yaml").write_text("name: eks-node-local-dns\n")
    (tmp_path / "stacks").mkdir()
    return tmp_path / "stacks" / "Pulumi.dev.yaml"


UNREADABLE: dict[str, tuple[str, str, str, str]] = {
    # what is wrong: (the file, the key or place, the reason, the remedy)
    "near namespace": (
        "config: {'eks-node-localdns:serviceCidr': 10.100.0.0/16}",
        "eks-node-localdns:serviceCidr:",
        "this would not count, and a default would",
        "Did you mean eks-node-local-dns:serviceCidr?",
    ),
    "namespace in other letters": (
        "config: {'EKS_Node_Local_DNS:tags': {}}",
        "EKS_Node_Local_DNS:tags:",
        "this would not count",
        "Did you mean eks-node-local-dns:tags?",
    ),
    "unknown key without a namespace": (
        "config: {serviceCIDR: 10.100.0.0/16}",
        "eks-node-local-dns:serviceCIDR:",
        "there is no such setting",
        "Did you mean serviceCidr?",
    ),
    "with and without a namespace": (
        "config: {serviceCidr: 10.100.0.0/16, 'eks-node-local-dns:serviceCidr': 10.200.0.0/16}",
        "eks-node-local-dns:serviceCidr:",
        "with and without the project's name",
        "Keep one",
    ),
    "misspelt root": ("confg: {}", "confg:", "what is below it would not count", "Did you mean config?"),
    "setting at the root": (
        "eks-node-local-dns:tags: {a: b}",
        "eks-node-local-dns:tags:",
        "would not count",
        "Settings belong below config:",
    ),
    "config is a list": ("config: [a]", "config:", "it has to be a map", "a line for each setting"),
    "a list": ("[a]", FILE, "it has to be a map", "Indent the settings below that"),
    "broken": ("config:\n  a: [b\nc: d", "line 3", "it is not YAML", "Correct it there"),
    "one key twice": (
        "config:\n  aws:region: a\n  eks-node-local-dns:tags: {a: b}\n  eks-node-local-dns:tags: {c: d}\n",
        "line 4",
        "eks-node-local-dns:tags is there twice",
        "Correct it there",
    ),
    "broken JSON": (
        "config: {'eks-node-local-dns:tags': '[broken'}",
        "eks-node-local-dns:tags:",
        "it has to be a map",
        "Correct the value",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_stack_file_that_would_be_ignored_in_part_is_refused(project: Path, case: str) -> None:
    """Whatever is wrong with a file, it is told like a wrong setting, and nothing in it is passed over."""
    text, place, reason, remedy = UNREADABLE[case]
    project.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_stack_file(project)
    message = str(refused.value)
    assert message.startswith(f"{FILE} has 1 mistake; nothing was created or changed.")
    for part in (place, reason, remedy):
        assert part in message


def test_a_stack_file_that_is_not_there_is_said(project: Path) -> None:
    """The file is named, not shown as a traceback."""
    with pytest.raises(SettingsError, match=r"Pulumi.dev.yaml has 1 mistake.*\n.*cannot be read"):
        load_stack_file(project)


def test_what_belongs_to_the_engine_and_to_others_is_let_be(project: Path) -> None:
    """Keys of the engine, and namespaces of other programs, are not judged; no namespace is the project's."""
    project.write_text(
        "encryptionsalt: v1:x\nsecretsprovider: passphrase\nenvironment: {imports: [a]}\n"
        "config: {'aws:region': eu-west-1, 'pulumi:tags': {}, 'kubernetes:context': x, 'datadog:apiUrl': y,"
        " serviceCidr: 10.100.0.0/16}\n"
    )
    assert str(load_stack_file(project).service_cidr) == "10.100.0.0/16"
    project.write_text("")
    assert load_stack_file(project) == parse({}, FILE)


def test_the_program_refuses_a_misspelt_namespace_too() -> None:
    """What the engine hands over is judged like the file."""
    with pytest.raises(SettingsError, match="Did you mean eks-node-local-dns:serviceCidr"):
        own({"eks-node-localdns:serviceCidr": "10.100.0.0/16", "aws:region": "x"}, "eks-node-local-dns", FILE)
    assert own({"eks-node-local-dns:tags": "[broken"}, "eks-node-local-dns", FILE) == {"tags": "[broken"}


@pytest.mark.parametrize(
    ("in_file", "from_engine"),
    [
        ("kubernetesVersion: 1.35", {"kubernetesVersion": "1.35"}),
        ("nodeGroups: {}", {"nodeGroups": "{}"}),
        ("cluster:", {"cluster": ""}),
        ("cluster.logRetentionDays: 7", {"cluster.logRetentionDays": "7"}),
        ("tags.cost: 42", {"tags.cost": "42"}),
        ("nodeLocalDns.enabled: no", {"nodeLocalDns.enabled": "false"}),
        ('tags: \'{"a": "b"}\'', {"tags": '{"a": "b"}'}),
    ],
)
def test_file_and_engine_mean_the_same(project: Path, in_file: str, from_engine: dict[str, str]) -> None:
    """The demo reads the file and the program what the engine makes of it: objects as JSON, scalars as text."""
    project.write_text(f"config:\n  eks-node-local-dns:{in_file}\n")
    name = "eks-node-local-dns"
    given = own({f"{name}:{key}": value for key, value in from_engine.items()}, name, FILE)
    assert load_stack_file(project) == parse(given, FILE)


def test_a_version_that_lost_its_zero_is_explained() -> None:
    """YAML reads 1.40 as a number, and nobody would find that by looking at the file."""
    assert "in quotes: YAML reads 1.40 as 1.4" in _refusal({"kubernetesVersion": "1.4"})


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for field in model.model_fields.values():
        for nested in models_in(field.annotation):
            yield str(field.alias), field.default
            yield from _sections(nested)


def test_setting_one_key_changes_no_other() -> None:
    """A section's defaults are those of its model, so a stack file that sets one key of it keeps the others'."""
    defaults = [(name, default) for name, default in _sections(Settings) if isinstance(default, BaseModel)]
    assert "reverse" in dict(defaults)
    assert [name for name, default in defaults if default != type(default)()] == []
