"""The LAN object: model, codec, rules, names. Pure: values in, values out; no netlink, no Kubernetes, no files."""
