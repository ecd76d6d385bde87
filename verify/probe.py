"""The pods that look: what they are told, what they may do, and the security group one of them is behind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.cache.corefile import HEALTH_PORT, METRICS_PORT, SETUP_METRICS_PORT
from verify.questions import Addresses, Client, Names, lines, questions, watched

COLLECTOR = Path(__file__).with_name("collector.sh")
"""The program every probe runs."""

IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.53"
"""Has ip, ss, dig and curl (kubernetes/kubernetes test/images/agnhost/Dockerfile); multi-architecture."""

RULES_IMAGE = "registry.k8s.io/dns/k8s-dns-node-cache:1.26.8"
"""Has iptables-save of both backends; where a cache is installed its own image is taken, which the nodes have."""

LABEL = "eks-node-local-dns/verify"
"""On everything the command makes: what carries it is removed, by this run or the next."""

BRANCH_GRACE_SECONDS = 1
"""Not zero: the VPC CNI takes a branch interface's network away within the pod's grace (EKS guide, "Security groups for
Pods")."""

NOBODY = 65534

CONTAINER = "facts"
_SCRATCH = "/scratch"
_CNI = "/host/etc/cni/net.d"


def environment(
    client: Client, run: str, node: str, addresses: Addresses, names: Names, *, watching: bool = False
) -> dict[str, str]:
    """Return what the collector is told, but for its role, its scratch directory and its files."""
    here = addresses.local or "127.0.0.1"
    near, far = (addresses.node, addresses.neighbour) if client == "plain" and not watching else ("", "")
    asked = watched() if watching else questions(client, addresses)
    return {
        "RUN": run,
        "NODE": node,
        "ADDRESSES": " ".join(each for each in (addresses.cluster, addresses.local, addresses.upstream) if each),
        "HEALTH": f"http://{here}:{HEALTH_PORT}/health",
        "METRICS": f"http://127.0.0.1:{METRICS_PORT}/metrics",
        "SETUP_METRICS": f"http://127.0.0.1:{SETUP_METRICS_PORT}/metrics",
        "NEAR_METRICS": near and f"http://{near}:{METRICS_PORT}/metrics",
        "FAR_METRICS": far and f"http://{far}:{METRICS_PORT}/metrics",
        "FAR_HEALTH": far and f"http://{far}:{HEALTH_PORT}/health",
        "QUESTIONS": lines(asked, addresses, names),
    }


def name(client: Client, run: str, number: str) -> str:
    """Return a pod's name; the node's own name may be longer than a name can be."""
    return f"verify-dns-{run}-{number}-{client}"


def grace_seconds(pod: Mapping[str, Any]) -> int:
    """Return the grace with which a probe is deleted."""
    return BRANCH_GRACE_SECONDS if pod["metadata"]["labels"].get(f"{LABEL}-client") == "branch" else 0


def pod(
    client: Client, number: str, namespace: str, run: str, node: str, addresses: Addresses, names: Names,
    seconds: int, *, watching: bool = False, groups: int = 0, image: str = IMAGE, rules_image: str = RULES_IMAGE,
) -> dict[str, Any]:  # fmt: skip
    """Return the pod that looks from one place of a node, once or until it ends; that is by itself after `seconds`.

    It names its node, so it needs no scheduler, goes to a cordoned node as well, and never lands elsewhere. `groups`
    says which of the run's policies a pod behind security groups is for.
    """
    on_node = client == "node"
    told = environment(client, run, node, addresses, names, watching=watching)
    scratch = {"name": "scratch", "mountPath": _SCRATCH}

    def container(container_name: str, of: str, role: str, *capabilities: str) -> dict[str, Any]:
        variables = {**told, "ROLE": role, "SCRATCH": _SCRATCH, "RESOLV": "/etc/resolv.conf",
                     "CNI": f"{_CNI}/10-aws.conflist"}  # fmt: skip
        return {
            "name": container_name,
            "image": of,
            "command": ["sh", "-c", COLLECTOR.read_text()],
            "env": [{"name": key, "value": value} for key, value in variables.items()],
            "securityContext": {
                # On the node: iptables-save wants root, and the CNI's file may be root's alone.
                "runAsUser": 0 if on_node else NOBODY,
                "runAsNonRoot": not on_node,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"], **({"add": list(capabilities)} if capabilities else {})},
            },
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "192Mi"}},
            "volumeMounts": [scratch],
        }

    facts = container(CONTAINER, image, "watch" if watching else "node" if on_node else "pod")
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}}]
    if on_node:
        facts["volumeMounts"].append({"name": "cni", "mountPath": _CNI, "readOnly": True})
        volumes.append({"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(client, run, number),
            "namespace": namespace,
            "labels": {LABEL: run, f"{LABEL}-client": client, f"{LABEL}-groups": str(groups)},
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": on_node,
            # The node's own resolver is a fact; a pod's is what the cluster gives every pod.
            "dnsPolicy": "Default" if on_node else "ClusterFirst",
            "restartPolicy": "Never",
            "activeDeadlineSeconds": seconds,
            "terminationGracePeriodSeconds": BRANCH_GRACE_SECONDS if client == "branch" else 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            # NET_ADMIN, and NET_RAW for the legacy backend, are what reading packet rules takes.
            **({"initContainers": [container("packets", rules_image, "packets", "NET_ADMIN", "NET_RAW")]}
               if on_node else {}),
            "containers": [facts],
            "volumes": volumes,
        },
    }  # fmt: skip


def security_group_policy(namespace: str, run: str, groups: Sequence[str], number: int) -> dict[str, Any]:
    """Return a policy of a run, that puts its branch pods of this number, and nothing else, behind security groups."""
    return {
        "apiVersion": "vpcresources.k8s.aws/v1beta1",
        "kind": "SecurityGroupPolicy",
        "metadata": {"name": f"verify-dns-{run}-{number}", "namespace": namespace, "labels": {LABEL: run}},
        "spec": {
            "podSelector": {"matchLabels": {LABEL: run, f"{LABEL}-client": "branch", f"{LABEL}-groups": str(number)}},
            "securityGroups": {"groupIds": list(groups)},
        },
    }
