"""What is fast and what is not: README.md says what each file measures and how to run it."""
