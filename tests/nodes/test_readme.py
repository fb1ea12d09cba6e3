"""The two READMEs say the same: commands, pictures, options, and every figure."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sections(name: str) -> list[str]:
    """The parts between headings but the last: the list of files is English alone."""
    return re.split(r"^## ", (ROOT / name).read_text(encoding="utf-8"), flags=re.M)[:-1]


def figures(text: str) -> list[str]:
    return sorted(re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)", text))


PAIRS = list(zip(sections("README.md"), sections("README.zh.md"), strict=True))


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[e.split("\n")[0] for e, _ in PAIRS])
def test_both_languages_give_the_same_figures_commands_and_pictures(english, chinese):
    assert figures(chinese) == figures(english)
    for pattern in (r"```.*?```", r"\]\((docs/images/[^)]+)\)", r"`(--[\w-]+|OmniSync\w+)`"):
        found = [re.findall(pattern, text, flags=re.S) for text in (english, chinese)]
        assert found[1] == found[0]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_every_picture_is_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((docs/images/[^)]+)\)", text)
    assert len(pictures) == 6
    assert all((ROOT / picture).is_file() for picture in pictures)
