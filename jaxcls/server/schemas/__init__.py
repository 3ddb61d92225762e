"""Requests and answers, a module an API. A field that means nothing here is refused, never ignored."""
