"""Run the local stack: Postgres, Kafka, Connect with Debezium, and Flink, on this machine, without Docker."""
