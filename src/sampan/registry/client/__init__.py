"""The client's end: hosts and mirrors, authentication, transport, pull and push."""
