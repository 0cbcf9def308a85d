"""The log and the outbox of high-templar in this site's PostgreSQL: an app with their migration."""
