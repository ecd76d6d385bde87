"""How long tests of the local cloud wait for it: much longer than a busy machine needs, as a bound on for ever."""

WAITER = {"Delay": 1, "MaxAttempts": 240}
"""Configuration of boto3's waiters: seconds between two looks, and how many there are."""
