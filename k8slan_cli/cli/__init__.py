"""The commands: what a person or a container runtime starts. Each command imports what it needs when it runs."""
