"""Market data: panels, readers, the simulated market."""
