"""Messages made by protoc from ``serve/protos``, never edited; see ``serve.generating``."""
