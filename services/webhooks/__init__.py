"""The webhook service: takes deliveries of GitHub and GitLab, proves them, stores them once; nothing else."""
