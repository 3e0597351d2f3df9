"""The HTTP furniture that every service has: front, problems, health, metrics, peers and the server itself."""
