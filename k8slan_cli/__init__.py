"""k8slan: virtual layer-2 LANs for Kubernetes.

The package is layered; a module imports only from its own layer or from those below it (held by import-linter)::

    cli                    commands, tables, exit codes
    agent | controller     the loops: they wake, read state, plan, apply
    probe                  frame classes, and what sends and receives them
    net | kube | render    effects: netlink and namespaces, the Kubernetes API, text from templates
    plan | cni             pure: desired and observed state, diff, operations; the CNI protocol
    lan                    pure: the LAN object, its codec, its rules, its names
"""

__version__ = "0.1.0"
