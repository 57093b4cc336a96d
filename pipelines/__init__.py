"""What a user runs: learning, predicting, reports, and the command line."""
