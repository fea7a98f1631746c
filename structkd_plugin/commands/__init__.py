"""Subcommands of `allennlp`: each a command line over a plain function."""
