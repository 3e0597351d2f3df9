"""The routes, one file per thing that they are about; each handler is one verb or one read."""
