"""What a signal is worth on a split."""
