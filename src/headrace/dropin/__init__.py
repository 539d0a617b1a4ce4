"""What headrace.simple_server needs: the rule that chooses the engine, and the engine's way of being wsgiref."""
