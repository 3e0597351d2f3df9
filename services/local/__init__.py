"""Everything in one process on one machine, and what a person needs to try it offline."""
