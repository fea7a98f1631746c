"""The sections of a report, each made from the methods that are compared."""
