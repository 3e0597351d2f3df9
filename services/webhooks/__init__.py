"""The webhook service: takes deliveries of GitHub, GitLab and CI jobs, proves them, stores them once; nothing else."""
