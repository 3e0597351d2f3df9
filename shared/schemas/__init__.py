"""The one schema of everything that crosses a room or the wire: frozen msgspec structs and closed sets of words."""
