"""Look at rows before they are written: expectations, and masks for personal data."""
