"""A lab's topology file, as containerlab or KNE has it, and the Kubernetes objects that it becomes.

::

    text ──► yaml_text, schema ──► containerlab ─┐
    text ──► kne ────────────────────────────────┴──► model.Lab ──► manifests ──► documents

``containerlab`` has its nodes read by ``nodes``, with ``levels`` and ``files``, and its links by ``links``; what these
say of the file goes into ``remarks``.

Text in, documents out: nothing here opens a file, asks a cluster or looks at the environment. The commands do, and hand
in what they read.
"""
