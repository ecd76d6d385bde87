"""The benchmark: CoreDNS asked directly, the cache with upstream's rules and the cache with ours, side by side."""
