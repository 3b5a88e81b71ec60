"""Every example of the README runs and prints what it says."""

import doctest
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_readme_examples():
    blocks = re.findall(
        r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    source = "\n".join(block for block in blocks if ">>>" in block)
    example = doctest.DocTestParser().get_doctest(source, {}, "README.md", str(README), 0)
    assert example.examples
    messages = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=messages.append)
    assert result.attempted == len(example.examples)
    assert result.failed == 0, "".join(messages)


def test_links_lead_somewhere():
    text = README.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (README.parent / link).exists(), link
