"""What an unmodified GROWI sends: its archive in a form, then its files, one by one."""
