"""The source's role: reads the wiki, sends it, proves that it arrived."""
