"""How good a tagger is: predictions against gold tags, systems against each other, runs as a page to look at."""
