"""What lets programs written for other servers run here unchanged."""
