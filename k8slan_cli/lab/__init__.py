"""A lab's topology file, as containerlab or KNE has it, and the Kubernetes objects that it becomes.

::

    text ──► yaml_text, schema ──► containerlab ─┐
    text ──► kne ────────────────────────────────┴──► model.Lab ──► manifests ──► documents

Text in, documents out: nothing here opens a file, asks a cluster or looks at the environment. The commands do, and hand
in what they read.
"""
