from typing import Any

COMMON_FIELD_NAMES: tuple[str, ...]

class EnvironTemplate:
    """What is the same in the environ of every request of one listener, and the keys of the fields seen.

    base: str -> object, copied.  request_line_bytes_max: the longest request line, in octets.
    """

    def __init__(self, base: dict[str, Any], request_line_bytes_max: int) -> None: ...

class FieldMemo:
    """The previous request head of one connection and the environ that was made of it."""
