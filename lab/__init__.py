"""A worker node in network namespaces, on which the failure and the fix can be watched."""
