"""Diagnostics: what a person asks of nodes' agents. They list attachments, probe, capture, and check their nodes.

::

    protocol   PURE: the values that travel, and their JSON
    session    frames sent and received at an attachment, or over a VXLAN of its own, at a client's word
    sniff      frames captured at attachments, as a stream of pcapng; filters   libpcap's expressions for it
    scratch    namespaces that nobody else sees, for trying things out; checks  what a node has and lacks
    client     one request to an agent, over whatever way there is to it: the workstation's half

The agent's half is driven from agent: diagnostics.py takes requests, guard.py knows who may ask, answers.py the state
that a request is about. Nothing in here listens, and nothing changes a LAN or a pod.
"""
