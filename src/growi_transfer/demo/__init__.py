"""A generated wiki, two real servers, and a comparison that shares nothing with the transfer it judges."""
