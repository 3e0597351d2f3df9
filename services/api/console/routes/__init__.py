"""Pages, forms and streams of the console; each module is one page or a few that belong together."""
