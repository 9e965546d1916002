"""Makes the fixtures of `shared/testing.py` known to every test, and no example fail for being slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("huella", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("huella")

pytest_plugins = ["shared.testing"]
