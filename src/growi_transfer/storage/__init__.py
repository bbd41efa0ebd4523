"""Where attachments live, behind one small interface."""
