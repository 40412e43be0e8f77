"""History in SQL: what the log's steps have told, kept for questions.

It follows from the log alone and can be thrown away and built again; nothing here is trusted by
anything that trades.
"""
