"""The node agent: it knows LANs and attachments, and keeps the node's part of each LAN as it should be."""
