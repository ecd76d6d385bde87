"""The command that proves, on the live nodes of a cluster, that DNS works."""
