"""Takes pods behind security groups from strict mode to standard mode, without anybody noticing."""
