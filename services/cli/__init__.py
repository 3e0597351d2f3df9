"""The command line: starts the services, and speaks REST to those that run."""
