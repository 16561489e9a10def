"""The CNI protocol (spec 1.1.0 down to 0.3.1): versions, requests, results, and the bytes between client and agent.

Pure: environment and bytes in, values out, and back. No socket, no file, no process; what a request leads to is planned
in ``plan`` and done in ``agent``.
"""
