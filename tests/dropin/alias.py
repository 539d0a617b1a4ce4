"""``import wsgiref.simple_server`` gives headrace.simple_server: for programs that are not changed in any other way.

To be run before the program's imports.  It is what docs/from-wsgiref.md tells to do, word for word.
"""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "from-wsgiref.md"
ALIAS = re.compile(r"<!-- alias -->\n\n```python\n(.*?)```", re.DOTALL)

(text,) = ALIAS.findall(PAGE.read_text(encoding="utf-8"))
exec(text, {})
