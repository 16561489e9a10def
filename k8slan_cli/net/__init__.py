"""Effects on the node: network namespaces, netlink, files in /proc. Only here does the project touch the kernel."""
