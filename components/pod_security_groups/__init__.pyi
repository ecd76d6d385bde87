from .label_selector import LabelOperator as LabelOperator
from .label_selector import LabelRequirementArgs as LabelRequirementArgs
from .label_selector import LabelSelectorArgs as LabelSelectorArgs
from .pod_security_group import PodSecurityGroup as PodSecurityGroup
from .pod_security_group import PodSecurityGroupArgs as PodSecurityGroupArgs
from .traffic_rules import TrafficProtocol as TrafficProtocol
from .traffic_rules import TrafficRuleArgs as TrafficRuleArgs
