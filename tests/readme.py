"""The README's table of architectures, from the registry: `python -m tests.readme` writes it."""

from pathlib import Path

from jaxcls.registry import architectures

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- models: `python -m tests.readme` writes this table from the registry -->\n"
END = "<!-- /models -->"


def table() -> str:
    """A row per architecture, in Markdown."""
    lines = ["| architecture | models | pooling | example |", "|---|---|---|---|"]
    for entry in architectures():
        names = ", ".join(f"`{name}`" for name in entry.names)
        lines.append(f"| {names} | {entry.summary} | {entry.pooling_name} | {entry.example} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """The README with its table replaced."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
