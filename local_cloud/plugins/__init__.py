"""Stand-ins for the provider plugins that package registries do not carry; real ones earlier on PATH win."""
