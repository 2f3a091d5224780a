"""What runs inside a peer's environment: standalone, nothing of minireranker is imported.

Started by file as ``__main__.py NAME``; then this folder is the package ``peer_programs``.
"""
