"""The programs: each sub-package runs on its own and imports `shared`, never a sibling (see README.md)."""
