"""Operators: one folder each, with a contract, a reference that defines it, and backends."""
