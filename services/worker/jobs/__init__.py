"""What the worker does for each kind of job: a claim goes in, a report comes out, a JobError says why not."""
