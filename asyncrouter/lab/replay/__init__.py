"""Another policy on logged traffic: what it would have cost and answered, as far as the log can tell."""
