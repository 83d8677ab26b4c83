"""Read change events from where connectors put them."""
