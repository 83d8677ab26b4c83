"""Put the stages together: the records between them, the template, the errors."""
