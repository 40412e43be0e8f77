"""The node's API: REST for requests and history, WebSocket for orders and data."""
