"""The kubelet's device plugin API (v1beta1): its messages, as protoc writes them, and the plugins."""
