"""The suites are imported by the modules that run them; their assertions are shown in full all the same."""

import pytest

pytest.register_assert_rewrite("contract.event_log", "contract.snapshot_store", "contract.jetstream")
