"""Discovery methods, one file each."""
