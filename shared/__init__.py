"""What two services must agree on, and nothing else: messages, problems, tokens, settings, logs, metrics, health,
the queue's rules and how a database is opened."""
