"""Settings that all tests share."""

import os

from hypothesis import HealthCheck, settings

# Nothing fails because a machine is busy: neither an example nor the drawing of one has a time that it may take.
ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)

# CI draws the same examples in every run: a red run is a change of the code. Elsewhere each run looks at new ones.
settings.register_profile("local", ANY_TIME)
settings.register_profile("ci", ANY_TIME, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
