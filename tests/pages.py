"""What holds for every page that is made here."""

import re


def assert_needs_no_network(html: str) -> None:
    """No scripts at all, and no picture, style sheet or frame from elsewhere; links to follow are welcome."""
    assert not re.search(r"<script", html)
    assert not re.search(r"""<(?:link|img|iframe|object|embed)\b[^>]*(?:src|href)=["']?(?:https?:)?//""", html)
    assert not re.search(r"""@import|url\(\s*["']?(?:https?:)?//""", html)
