"""Every command of the project under one name."""
