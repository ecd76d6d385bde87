"""The resources of a cluster with node-local DNS, and the pure functions they stand on."""
