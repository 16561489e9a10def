"""The controller: NADs, clashes, status and finalizers of all LANs of a cluster, and the admission webhook."""
