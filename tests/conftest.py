"""Settings that all tests share."""

import os

from hypothesis import settings

# CI draws the same examples in every run: a red run is a change of the code. Elsewhere each run looks at new ones.
settings.register_profile("local", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
