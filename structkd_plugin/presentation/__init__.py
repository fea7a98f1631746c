"""What is shown to people: drawings as SVG and pages as HTML that need no other file."""
