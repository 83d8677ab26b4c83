"""Apply dead letters that come again, and keep back what waits for them."""
