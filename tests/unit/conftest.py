"""How long the property tests look: a little by default, ``HYPOTHESIS_PROFILE=long`` for an evening."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline: a machine that does something else meanwhile is no fault of the code.
settings.register_profile("short", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("short"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
