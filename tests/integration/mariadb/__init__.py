"""Run a MariaDB out of Debian's packages, which are unpacked and not installed."""
