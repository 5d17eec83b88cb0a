"""The command lines of a page's bash fences."""

import re
from pathlib import Path

FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(page: Path) -> list[str]:
    """Command lines, whole where a backslash breaks them, without lines of comment."""
    blocks = FENCE.findall(page.read_text())
    joined = (line for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]


def shown(page: Path, language: str) -> str:
    """What stands in the page's first fence of this language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no fence of {language}"
    return found[1]
