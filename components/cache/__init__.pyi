from .corefile import CorefileSettings as CorefileSettings
from .node_local_dns import NodeLocalDns as NodeLocalDns
from .node_local_dns import NodeLocalDnsArgs as NodeLocalDnsArgs
from .node_local_dns import NodeLocalDnsSettings as NodeLocalDnsSettings
from .node_local_dns import manifests as manifests
from .observability import ObservabilitySettings as ObservabilitySettings
