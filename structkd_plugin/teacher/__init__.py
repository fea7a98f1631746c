"""What a teacher said, kept on disk, and how it reaches the batches of a student. Knows nothing of the model side."""
