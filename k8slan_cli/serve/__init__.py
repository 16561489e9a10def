"""HTTP for others to ask: the one server, and what agent and controller both answer. aiohttp's server stays in here."""
