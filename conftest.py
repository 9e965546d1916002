"""Makes the fixtures of `shared/testing.py` known to every test."""

pytest_plugins = ["shared.testing"]
