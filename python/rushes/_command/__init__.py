"""What the command line does in Python: `rushes query`."""
