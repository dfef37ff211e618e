"""A user's own vision-language-action checkpoint, from a local folder, as System 2."""
