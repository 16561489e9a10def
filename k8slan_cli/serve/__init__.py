"""What agent and controller serve alike: health, readiness and metrics over HTTP."""
