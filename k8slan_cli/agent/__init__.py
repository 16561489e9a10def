"""The node agent: it knows LANs and attachments, and reconciles the node's part of each LAN."""
