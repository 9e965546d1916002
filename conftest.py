"""Makes the fixtures of `shared/testing.py` known to every test, and no example fail for being slow.

Where `CI` is set the examples are the same in every run: a change is not refused for what it has nothing to do with.
Everywhere else each run tries others.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "huella", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("huella")

pytest_plugins = ["shared.testing"]
