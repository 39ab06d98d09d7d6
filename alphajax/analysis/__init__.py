"""What is asked of finished formulas."""
