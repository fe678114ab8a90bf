"""What is to be run: configuration, methods, model families, the stopping rule, where files lie."""
