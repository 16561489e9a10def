"""The kubelet's device plugin API (v1beta1): its messages, gRPC over unix sockets, and the plugins themselves."""
