"""The component package: what programs in other languages get with `pulumi package add`."""

import sys
import tomllib
from pathlib import Path

from pulumi import ComponentResource
from pulumi.provider.experimental import component_provider_host

ROOT = Path(__file__).parents[1]
# The engine runs this file by its path, from wherever it has put the repository.
sys.path.insert(0, str(ROOT))

from components.pod_security_groups.pod_security_group import PACKAGE, PodSecurityGroup  # noqa: E402  # found by the line above
from package.cluster import Cluster  # noqa: E402  # likewise
from package.node_local_dns import NodeLocalDns  # noqa: E402  # likewise

if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    components: list[type[ComponentResource]] = [Cluster, NodeLocalDns, PodSecurityGroup]
    component_provider_host(name=PACKAGE, version=project["version"], components=components)
