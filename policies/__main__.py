"""The policy pack: `pulumi preview --policy-pack policies`."""

from eks_dns_policies import RULES
from eks_dns_policies.rule import policy
from pulumi_policy import PolicyPack

PolicyPack("eks-node-local-dns", policies=[policy(rule) for rule in RULES])
