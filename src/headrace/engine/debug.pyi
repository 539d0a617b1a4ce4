def is_debug_build() -> bool:
    """Was this built with HEADRACE_DEBUG=1?"""

def parser_variant() -> str:
    """How this build reads request heads on this processor: "AVX2", "NEON" or "plain C"."""

def object_counts() -> dict[str, int]:
    """Connections, responses, bodies and spools alive, by kind; {} in other builds."""
