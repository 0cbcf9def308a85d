"""Orders, a chat and who is online: all of it live."""
