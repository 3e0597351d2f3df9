"""The two transition tables, the gates' verdict and what may be done next; pure, no status is written here."""
