"""What every report is made of: tables, sentences, pictures; rendered for pages, papers and terminals."""
