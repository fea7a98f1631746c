"""What is said of a teacher store before a training: whether it is whole, how good its teacher is, and how sure."""
