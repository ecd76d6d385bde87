"""Everything that lets the same Pulumi program run without an AWS account: see docs/adr/0007-local-cloud.md."""
