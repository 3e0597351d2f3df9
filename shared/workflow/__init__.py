"""One verb per business move; the only writer of a status."""
