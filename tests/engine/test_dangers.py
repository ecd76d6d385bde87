"""Every setting of this project's purpose, turned to its dangerous value in a stack file: what a pull request says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from delivery.preview import Preview
from delivery.summary import summary
from stacks.mistakes import SettingsError
from stacks.reading import parse
from tests.engine.copies import Clone

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]

REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # what is done: (the settings, what the program says before the engine plans anything)
    "strict mode beside the cache": (
        {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}},
        ("podSecurityGroupEnforcingMode is strict", "could not reach the cache", "Set the mode to standard"),
    ),
    "a mode nobody knows": (
        {"vpcCni": {"podSecurityGroupEnforcingMode": "off"}},
        ("vpcCni.podSecurityGroupEnforcingMode", "'standard' or 'strict'", "cuts it off"),
    ),
    "a CNI that does not know the mode": (
        {"addonVersions": {"vpcCni": "v1.10.0-eksbuild.1"}},
        ("does not know POD_SECURITY_GROUP_ENFORCING_MODE", "Use v1.12.1 or newer"),
    ),
    "nodes without branch interfaces": (
        {"nodeGroups": {"default": {"instanceTypes": ["t3.large"]}}},
        ("t3.large cannot carry branch network interfaces", "would stay Pending", "Use a Nitro type"),
    ),
    "the API open to the internet": (
        {"cluster": {"publicAccessCidrs": ["0.0.0.0/0"]}},
        ("0.0.0.0/0 is the whole internet", "Name the networks"),
    ),
    "an add-on of no version": (
        {"addonVersions": {"coreDns": "latest"}},
        ("addonVersions.coreDns", "latest", "v1."),
    ),
    "a Kubernetes version without pinned add-ons": (
        {"kubernetesVersion": "1.29"},
        ("has no pinned add-on versions", "Use one of"),
    ),
    "an image without a version": (
        {"nodeLocalDns": {"image": "registry.k8s.io/dns/k8s-dns-node-cache"}},
        ("is not a pinned image", "nodes would run different caches"),
    ),
    "an image that floats": (
        {"nodeLocalDns": {"image": "registry.k8s.io/dns/k8s-dns-node-cache:latest"}},
        ("is not a pinned image", "nodes would run different caches"),
    ),
    "an address that AWS uses": (
        {"nodeLocalDns": {"localAddress": "169.254.169.253"}},
        ("nodeLocalDns.localAddress: 169.254.169.253", "the node would lose it"),
    ),
    "a cache that asks itself": (
        {"nodeLocalDns": {"corefile": {"upstreamServers": ["169.254.20.10"]}}},
        ("nodeLocalDns.corefile.upstreamServers: 169.254.20.10 is the address of the cache itself",),
    ),
    "Services where the VPC's hosts are": (
        {"serviceCidr": "10.10.0.0/20"},
        ("overlaps network.cidr", "pods could not tell Services from hosts"),
    ),
    # What cannot be turned off here says so, rather than being ignored.
    "Secrets without a key": (
        {"cluster": {"encryption": False}},
        ("cluster.encryption: there is no such setting", "Known here: name"),
    ),
    "metadata of version 1": (
        {"nodeGroups": {"default": {"instanceTypes": ["m6i.large"], "httpTokens": "optional"}}},
        ("nodeGroups.default.httpTokens: there is no such setting",),
    ),
    "logs for ever": (
        {"cluster": {"logRetentionDays": 0}},
        ("cluster.logRetentionDays", "Days the control-plane logs are kept"),
    ),
}


@pytest.mark.parametrize("danger", REFUSED)
def test_the_program_refuses(danger: str) -> None:
    """Nothing is planned, and the message names the key, the reason and the way out."""
    settings, said = REFUSED[danger]
    with pytest.raises(SettingsError) as refused:
        parse({"network": {"cidr": "10.10.0.0/16"}, **settings}, "stacks/Pulumi.dev.yaml")
    message = str(refused.value)
    assert message.startswith("stacks/Pulumi.dev.yaml has 1 mistake; nothing was created or changed.")
    for each in said:
        assert each in message


@dataclass(frozen=True)
class Caught:
    """A danger that only the planned resources show."""

    settings: Mapping[str, Any]
    said: tuple[str, ...]
    policy: str = ""
    level: str = "mandatory"


ALTOGETHER = {
    # Production, and whatever may be wrong in one stack file at once: a preview for each would take minutes.
    "strict mode without the cache": Caught(
        {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}, "nodeLocalDns": {"enabled": False}},
        ("POD_SECURITY_GROUP_ENFORCING_MODE is strict", "cannot reach its own node", "to standard"),
        "pod-security-groups-standard-mode",
    ),
    "the API open to half of the internet": Caught(
        {"cluster": {"publicAccessCidrs": ["0.0.0.0/1"], "deletionProtection": False, "logTypes": []}},
        ("is open to 0.0.0.0/1", "Anybody on the internet", "cluster.publicAccessCidrs"),
        "endpoint-restricted",
    ),
    "production without protection": Caught(
        {},
        ("Cluster is not protected in the stack prod", "cluster.deletionProtection: true"),
        "production-protected",
    ),
    "no logs of the control plane": Caught(
        {},
        ("does not log api, audit, authenticator", "nobody can say who did what", "cluster.logTypes"),
        "control-plane-logs",
    ),
}
OF_A_RUNNING_STACK = {
    "rules that outlive the cache": Caught(
        {"nodeLocalDns": {"interception": "upstream"}},
        ("node-cache's own packet rules", "every query on that node is refused", "nodeLocalDns.interception: socket"),
        "node-local-dns-survives-its-crash",
        "advisory",
    ),
    "pods under the node's group outside of the VPC": Caught(
        {"vpcCni": {"externalSnat": False, "podEni": True}},
        ("under the node's security group", "vpcCni.externalSnat"),
        "external-snat-with-pod-security-groups",
        "advisory",
    ),
}


def _preview(clone: Clone, dangers: Mapping[str, Caught], stack: str) -> Preview:
    clone.select(stack)
    settings = {key: value for each in dangers.values() for key, value in each.settings.items()}
    return clone.preview(settings, "preview", "--policy-pack", "policies", stack=stack)


@pytest.fixture(scope="module")
def previews(clone: Clone) -> list[tuple[Mapping[str, Caught], Preview]]:
    """Return the previews under the policies, each with what has to be caught in it."""
    return [
        (ALTOGETHER, _preview(clone, ALTOGETHER, "prod")),
        (OF_A_RUNNING_STACK, _preview(clone, OF_A_RUNNING_STACK, "dev")),
    ]


@pytest.mark.parametrize("danger", [*ALTOGETHER, *OF_A_RUNNING_STACK])
def test_a_policy_objects(previews: list[tuple[Mapping[str, Caught], Preview]], danger: str) -> None:
    """What the settings allow and the purpose does not is in the comment, above the list of changes."""
    [(caught, preview)] = [(dangers[danger], preview) for dangers, preview in previews if danger in dangers]
    assert (caught.policy, caught.level) in {(each.policy, each.level) for each in preview.violations}
    text = summary({"stack": preview})
    assert ("**stopped by policy**" in text) is (danger in ALTOGETHER)
    for each in caught.said:
        assert text.index(each) < text.index("<details>")


def test_what_no_policy_sees_is_told_above_the_list(clone: Clone) -> None:
    """Policies that need interfaces are in other stacks, and strict pods in no stack: effects and warnings tell."""
    settings = {"vpcCni": {"podEni": False}, "nodeLocalDns": {"ignoreStrictPods": True}}
    text = summary({"dev": clone.preview(settings)})
    assert text.index("pods that a SecurityGroupPolicy selects stay Pending") < text.index("<details>")
    assert text.index("nodeLocalDns.ignoreStrictPods is on") < text.index("<details>")
    assert text.index("Remove the key after this update") < text.index("<details>")
