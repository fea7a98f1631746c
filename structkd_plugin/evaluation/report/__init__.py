"""What trained students are like, side by side: one page, the same as Markdown, as LaTeX tables and as figures."""
