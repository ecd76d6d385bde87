from .cni_state import CniState as CniState
from .kubernetes_api import KubernetesApi as KubernetesApi
from .kubernetes_api import KubernetesApiError as KubernetesApiError
from .lease import alone as alone
from .strict_pods import SecurityGroupPod as SecurityGroupPod
from .strict_pods_guard import StrictPodsError as StrictPodsError
