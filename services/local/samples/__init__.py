"""Sample repositories and the scripts that play a protocol on them."""
