"""The git door: everything that runs git. Start at `door.Git`; the other modules are its rooms."""
