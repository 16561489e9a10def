"""Diagnostics: what a person asks of a cluster and of its nodes' agents, both ends of it.

The agents' end: they list attachments, probe, capture, and check their nodes.

::

    protocol   PURE: the values that travel, and their JSON
    session    frames sent and received at an attachment, or over a VXLAN of its own, at a client's word
    sniff      frames captured at attachments, as a stream of pcapng; filters   libpcap's expressions for it
    scratch    private namespaces, for trials; checks  what a node has and lacks

It is driven from agent: diagnostics.py takes requests, guard.py knows who may ask, answers.py the state that a request
is about. Nothing in here listens, and nothing changes a LAN or a pod.

The workstation's end:

::

    client     one request to an agent, over whatever way there is to it; agents   all of a cluster's agents
    exchange   frames between places, as their agents send and receive them; between   whether nodes reach each other
    recording  captures of many agents into one file
    lan        all there is to know of one LAN, and why it is not ready
    doctor     all that LANs need, in order: cluster   what the API tells, nodes   what the agents find
"""
