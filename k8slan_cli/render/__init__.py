"""Text from templates and values: the manifests of k8slan itself, a LAN's NADs, the reference of LAN's fields.

``settings`` are the values that an installation may choose, ``manifests`` renders them. The templates are the source
of the words; Python only gives values, and nothing in here speaks to a cluster.
"""
