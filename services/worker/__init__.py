"""The worker service: it takes jobs, runs Codex and git, and reports through the workflow."""
