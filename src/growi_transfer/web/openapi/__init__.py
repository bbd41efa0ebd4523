"""What the app answers, for programs: an OpenAPI 3.1 document, made of the same shapes that check what comes in."""
