"""A job's report: one page of HTML that shows what was asked, tried and delivered."""
