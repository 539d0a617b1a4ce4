"""What happened: access log, error log, and the stream behind wsgi.errors."""
