"""The Kubernetes API: the way to it, informers, and what k8slan reads and writes there. Nothing is decided here."""
