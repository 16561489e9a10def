"""What a cluster has of LANs, read for a person: the objects, and which pods are on them."""
