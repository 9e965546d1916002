"""The classifier's HTTP resources, a file each."""
