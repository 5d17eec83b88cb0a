"""The command lines of a page's bash fences."""

import re
from pathlib import Path

FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(page: Path) -> list[str]:
    """Command lines, whole where a backslash breaks them, without lines of comment."""
    blocks = FENCE.findall(page.read_text())
    joined = (line for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]
