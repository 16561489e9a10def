"""What a node should have for a LAN, what it has, and the operations that lead from one to the other. Pure."""
