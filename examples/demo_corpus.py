"""Build the corpus of the demo model: labelled source snippets cut from permissively licensed packages.

    pip install unearth            # finds and downloads source distributions without running their build
    python examples/demo_corpus.py CORPUS_DIR

The packages, their pinned versions and their licences are listed in ``jaxcls/demo/sources.csv``. Each is downloaded
by the ordinary client of its registry (``unearth`` for PyPI, ``npm pack``, ``apt-get download``) and read without
being installed. Every package is assigned to one split by its project, so the projects of the validation and test
splits are never seen in training. The result is ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` with one
``{"text", "label", "package", "path", "licence"}`` a line. The same table and seed give the same bytes.
"""

import argparse
import csv
import hashlib
import io
import json
import random
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

SOURCES = Path(__file__).parents[1] / "jaxcls" / "demo" / "sources.csv"
SPLITS = ("test", "validation", "train")
"""In the order in which they draw: what the test split has taken is never in another."""

MAX_FILE_BYTES = 200_000
MAX_LINE_CHARS = 400
MIN_LINES, MAX_LINES = 3, 20
MAX_SNIPPET_CHARS = 2_000


@dataclass(frozen=True)
class Language:
    """How files of one language are recognised, and which of their lines say nothing about it.

    Attributes:
        label: the language's name.
        suffixes: of its files.
        names: whole names of its files.
        line: what a line of commentary begins with.
        block: what opens and closes a block of commentary; it begins its line.
        embedded: what opens and closes text that may be in another language (a multi-line string); anywhere in a line.
        mark: what every snippet must hold, where the language allows plain prose that no one could tell apart.
    """

    label: str
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    line: tuple[str, ...] = ()
    block: tuple[tuple[str, str], ...] = ()
    embedded: tuple[tuple[str, str], ...] = ()
    mark: str = ""


_SLASHES: tuple[str, ...] = ("//",)
_STARS = (("/*", "*/"),)
_HASH: tuple[str, ...] = ("#",)
_QUOTES = (('"""', '"""'), ("'''", "'''"))
_BACKTICK = (("`", "`"),)
_MARKDOWN = r"^ *#{1,6} \S|\]\(|(?<![`:])`[^`\n]+`(?![`_])|^ *\|.*\|$|\*\*\w|^ *(-|\*|\+|\d+\.) |^```|^> "
_RST = r":\w+:|^ *\.\. |``[^`\n]+``|^([=\-~^\"'#*+.])\1{3,}$|::$|`_|\*\*\w|^ *(-|\*|#\.) "

LANGUAGES: dict[str, Language] = {
    language.label: language
    for language in (
        Language("C", (".c",), line=_SLASHES, block=_STARS),
        Language("C#", (".cs",), line=_SLASHES, block=_STARS),
        Language("C++", (".cc", ".cpp", ".cxx", ".hpp", ".hh"), line=_SLASHES, block=_STARS),
        Language("CMake", (".cmake",), ("CMakeLists.txt",), line=_HASH),
        Language("CSS", (".css",), block=_STARS),
        Language("Go", (".go",), line=_SLASHES, block=_STARS, embedded=_BACKTICK),
        Language(
            "HTML",
            (".html", ".htm"),
            block=(("<!--", "-->"),),
            embedded=(("<script", "</script>"), ("<style", "</style>")),
        ),
        Language("Java", (".java",), line=_SLASHES, block=_STARS),
        Language("JavaScript", (".js", ".mjs", ".cjs", ".jsx"), line=_SLASHES, block=_STARS, embedded=_BACKTICK),
        Language("JSON", (".json",)),
        Language("Kotlin", (".kt", ".kts"), line=_SLASHES, block=_STARS, embedded=_QUOTES),
        Language("Lua", (".lua",), line=("--",), block=(("--[[", "]]"), ("--[=[", "]=]")), embedded=(("[[", "]]"),)),
        Language("Markdown", (".md",), block=(("<!--", "-->"),), embedded=(("```", "```"),), mark=_MARKDOWN),
        Language("Objective-C", (".m",), line=_SLASHES, block=_STARS),
        Language("PHP", (".php",), line=("//", "#"), block=_STARS),
        Language("Protobuf", (".proto",), line=_SLASHES, block=_STARS),
        Language("Python", (".py",), line=_HASH, embedded=_QUOTES),
        Language("R", (".R", ".r"), line=_HASH),
        Language("reStructuredText", (".rst",), line=("    ", "\t"), mark=_RST),
        Language("Ruby", (".rb", ".rake", ".gemspec"), ("Rakefile", "Gemfile"), _HASH, (("=begin", "=end"),)),
        Language("Rust", (".rs",), line=_SLASHES, block=_STARS),
        Language("Shell", (".sh", ".bash", ".zsh"), line=_HASH),
        Language("SQL", (".sql",), line=("--",), block=_STARS),
        Language("Swift", (".swift",), line=_SLASHES, block=_STARS, embedded=_QUOTES),
        Language("TOML", (".toml",), line=_HASH, embedded=_QUOTES),
        Language("TypeScript", (".ts", ".tsx"), line=_SLASHES, block=_STARS, embedded=_BACKTICK),
        Language("XML", (".xml", ".plist"), block=(("<!--", "-->"),)),
        Language("YAML", (".yml", ".yaml"), line=_HASH),
    )
}

_SKIPPED_PATH = re.compile(
    r"(^|/)(_?vendor(ed)?|third[-_]?party|3rd[-_]?party|extern(al)?|node_modules|bower_components|deps|bundled|Pods|\.cxx"
    r"|dist|build|_build|out|cjs|esm|umd|es5|amd|commonjs|module|generated|gen|__snapshots__|locales?|i18n)/"
    r"|[.-]min\.|\.d\.ts$|\.bundle\.|(^|/)(package-lock|npm-shrinkwrap)\.json$"
    r"|(^|/)debian/|(^|/|-)(licen[cs]es?|copying|notice)[-./]",
    re.IGNORECASE,
)
_GENERATED = re.compile(
    r"auto-?\s?generated|generated (by|from|file|code)|do not (edit|modify)|don't edit|@generated|@flow"
    r'|__esModule|sourceMappingURL|<auto-generated|"use strict";\s*var __',
    re.IGNORECASE,
)
_TEMPLATED = re.compile(r"\{%|<%|<\?php")
_SHEBANG = re.compile(r"#!\s*(/usr)?/bin/(env )?(ba|da|z|k)?sh\b")
_LICENCE = re.compile(r"copyright|licen[cs]e|spdx|all rights reserved|@author", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """One row of the table. ``project`` joins the packages of one code base: they share a split."""

    registry: str
    name: str
    version: str
    licence: str
    project: str
    languages: tuple[str, ...]

    @property
    def key(self) -> str:
        """The package's name with its registry and version, as the snippets carry it."""
        return f"{self.registry}:{self.name}@{self.version}"


@dataclass(frozen=True)
class Snippet:
    """``text`` is the snippet as it stood in the file, without blank lines at its ends."""

    text: str
    label: str
    package: str
    path: str
    licence: str


def read_packages(path: Path = SOURCES) -> list[Package]:
    """Reads the table of sources; an unknown language is a KeyError."""
    with path.open(newline="") as file:
        rows = [
            Package(row["registry"], row["package"], row["version"], row["licence"], row["project"],
                    tuple(LANGUAGES[label].label for label in row["languages"].split(";")))
            for row in csv.DictReader(file)
        ]  # fmt: skip
    return sorted(rows, key=lambda package: package.key)


def download(package: Package, folder: Path) -> Path:
    """Downloads a package's archive into its own folder below ``folder``, unless it is there already."""
    place = folder / package.registry / package.key.split(":", 1)[1].replace("/", "__")
    if place.is_dir():
        return next(place.iterdir())
    partial = place.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    pinned = f"{package.name}=={package.version}"
    command = {
        "pypi": ["unearth", "--no-binary", "--download", ".", pinned],
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        "debian": ["apt-get", "download", f"{package.name}={package.version}"],
    }[package.registry]
    done = subprocess.run(command, check=False, cwd=partial, capture_output=True, text=True)
    archives = list(partial.iterdir())
    if done.returncode or len(archives) != 1:
        raise RuntimeError(f"{' '.join(command)} gave no archive: {done.stderr.strip() or done.stdout.strip()}")
    partial.rename(place)
    return next(place.iterdir())


def _tar_members(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.size <= MAX_FILE_BYTES else None
            if content is not None:
                yield member.name, content.read()


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the (path, content) of every file of at most MAX_FILE_BYTES in a .tar.gz, .tgz, .zip or .deb."""
    if path.suffix == ".deb":
        tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], check=True, stdout=subprocess.PIPE)
        yield from _tar_members(io.BytesIO(tar.stdout))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and info.file_size <= MAX_FILE_BYTES:
                    yield info.filename, archive.read(info)
    else:
        with path.open("rb") as stream:
            yield from _tar_members(stream)


def language_of(path: str, text: str) -> Language | None:
    """The language of a file by its name, or by its shebang where it has no suffix."""
    name = PurePosixPath(path)
    for language in LANGUAGES.values():
        if name.name in language.names or name.suffix in language.suffixes:
            return language
    return LANGUAGES["Shell"] if not name.suffix and _SHEBANG.match(text) else None


def usable_text(path: str, content: bytes) -> str | None:
    """The text of a hand-written file; None for what is vendored, generated, minified, templated or not UTF-8."""
    if _SKIPPED_PATH.search(path) or len(content) < 80:
        return None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return None
    if "\0" in text or _GENERATED.search(text, 0, 3_000) or any(len(s) > MAX_LINE_CHARS for s in text.split("\n")):
        return None
    if PurePosixPath(path).suffix in {".html", ".htm", ".sql", ".xml"} and _TEMPLATED.search(text):
        return None
    return text


def commentary(lines: Sequence[str], language: Language) -> list[bool]:
    """Says of each line whether it is commentary or embedded text; a line that opens such text in its middle is not."""
    marks: list[bool] = []
    closer: str | None = None
    for line in lines:
        bare = line.strip()
        if closer is None:
            opened = next((pair for pair in language.block if bare.startswith(pair[0])), None)
            marks.append(opened is not None or line.startswith(language.line) or bare.startswith(language.line))
            if opened is not None:
                closer = None if opened[1] in bare[len(opened[0]) :] else opened[1]
            elif not marks[-1]:
                closer = next((b for a, b in language.embedded if _opens(bare, a, b)), None)
                marks[-1] = closer is not None and bare.startswith(closer)
        else:
            marks.append(True)
            closer = None if closer in bare else closer
    return marks


def _opens(line: str, opener: str, closer: str) -> bool:
    return line.count(opener) % 2 == 1 if opener == closer else line.rfind(opener) > line.rfind(closer)


def _without_licence_header(lines: list[str], marks: list[bool]) -> tuple[list[str], list[bool]]:
    end = next((i for i, line in enumerate(lines) if line.strip() and not marks[i]), len(lines))
    header = end if _LICENCE.search("\n".join(lines[:end])) else 0
    return lines[header:], marks[header:]


def cut_snippets(text: str, language: Language, rng: random.Random) -> Iterator[str]:
    """Cuts snippets of MIN_LINES to MAX_LINES lines at random places, at most one for every 6 lines of the file.

    At least MIN_LINES of a snippet's lines, and half of those that are not blank, are more than commentary and hold
    a letter; the language's mark is there.
    """
    mark = re.compile(language.mark, re.MULTILINE)
    lines = [line.rstrip() for line in text.split("\n")]
    lines, marks = _without_licence_header(lines, commentary(lines, language))
    for _ in range(min(60, 1 + len(lines) // 6)):
        start = rng.randrange(max(1, len(lines) - MIN_LINES))
        stop = min(len(lines), start + rng.randint(MIN_LINES, MAX_LINES))
        while start < stop and not lines[start]:
            start += 1
        while start < stop and not lines[stop - 1]:
            stop -= 1
        filled = sum(1 for i in range(start, stop) if lines[i])
        telling = sum(1 for i in range(start, stop) if not marks[i] and re.search(r"[A-Za-z]", lines[i]))
        snippet = "\n".join(lines[start:stop])
        if telling >= max(MIN_LINES, filled / 2) and len(snippet) <= MAX_SNIPPET_CHARS and mark.search(snippet):
            yield snippet


def package_snippets(package: Package, archive: Path, seed: int) -> dict[str, list[Snippet]]:
    """All snippets of one package by label, in an order drawn from the seed and the package."""
    rng = random.Random(f"{seed}:{package.key}")
    found: dict[str, list[Snippet]] = defaultdict(list)
    seen: set[str] = set()
    for path, content in sorted(read_archive(archive)):
        text = usable_text(path, content)
        language = language_of(path, text) if text is not None else None
        digest = hashlib.sha256(content).hexdigest()
        if text is None or language is None or language.label not in package.languages or digest in seen:
            continue
        seen.add(digest)
        for snippet in cut_snippets(text, language, rng):
            found[language.label].append(Snippet(snippet, language.label, package.key, path, package.licence))
    for snippets in found.values():
        rng.shuffle(snippets)
    return dict(found)


def assign_splits(languages_of: dict[str, set[str]], seed: int) -> dict[str, str]:
    """Assigns every project to a split: of each language's projects a quarter (at least 2) to test, an eighth (at
    least 1) to validation, the rest to train. The order within a language is drawn from the seed.
    """
    split: dict[str, str] = {}
    projects_of: dict[str, list[str]] = defaultdict(list)
    for project in sorted(languages_of, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        for label in languages_of[project]:
            projects_of[label].append(project)
    for name, least, share in (("test", 2, 4), ("validation", 1, 8)):
        for label, projects in sorted(projects_of.items(), key=lambda item: (len(item[1]), item[0])):
            wanted = max(least, len(projects) // share) - sum(1 for p in projects if split.get(p) == name)
            for project in [p for p in projects if p not in split][: max(0, wanted)]:
                split[project] = name
            if not any(split.get(p) == name for p in projects) or all(p in split for p in projects):
                raise ValueError(f"{label} has too few projects ({len(projects)}) to split")
    return {project: split.get(project, "train") for project in languages_of}


def _squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def _shingles(lines: Sequence[str]) -> set[str]:
    return {"\n".join(lines[i : i + MIN_LINES]) for i in range(len(lines) - MIN_LINES + 1)}


def draw(pools: Sequence[Sequence[Snippet]], count: int, taken: set[str]) -> list[Snippet]:
    """Takes up to ``count`` snippets from the packages in turn, none that shares three lines with one taken before
    by another split, and none twice. A package gives a quarter at most.
    """
    drawn: list[Snippet] = []
    texts: set[str] = set()
    given: Counter[int] = Counter()
    for turn in range(max((len(pool) for pool in pools), default=0)):
        for i, pool in enumerate(pools):
            if len(drawn) == count:
                return drawn
            if turn >= len(pool) or given[i] >= max(1, count // 4):
                continue
            lines = _squeezed(pool[turn].text)
            if "\n".join(lines) not in texts and taken.isdisjoint(_shingles(lines)):
                texts.add("\n".join(lines))
                given[i] += 1
                drawn.append(pool[turn])
    return drawn


def build(packages: Sequence[Package], folder: Path, counts: dict[str, int], seed: int) -> dict[str, list[Snippet]]:
    """Downloads the packages and returns the snippets of every split, ``counts`` for each language at most."""
    archives = [download(package, folder / "archives") for package in packages]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(package_snippets, packages, archives, [seed] * len(packages)))
    languages_of: dict[str, set[str]] = defaultdict(set)
    for package, snippets in zip(packages, found, strict=True):
        if empty := set(package.languages) - snippets.keys():
            raise ValueError(f"{package.key} holds no snippet of {', '.join(sorted(empty))}")
        languages_of[package.project] |= snippets.keys()
    split_of = assign_splits(languages_of, seed)
    result: dict[str, list[Snippet]] = {}
    taken: set[str] = set()
    for split in SPLITS:
        chosen: list[Snippet] = []
        for label in sorted({label for package in packages for label in package.languages}):
            pools = [s[label] for p, s in zip(packages, found, strict=True)
                     if label in s and split_of[p.project] == split]  # fmt: skip
            chosen += draw(pools, counts[split], taken)
        taken |= {shingle for snippet in chosen for shingle in _shingles(_squeezed(snippet.text))}
        random.Random(f"{seed}:{split}").shuffle(chosen)
        result[split] = chosen
    return result


def main(argv: Sequence[str]) -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Build the corpus of the demo model.")
    parser.add_argument("folder", type=Path, help="where the archives and the splits are written")
    parser.add_argument("--train", type=int, default=3000, help="snippets of each language in the training split")
    parser.add_argument("--validation", type=int, default=100, help="and in the validation split")
    parser.add_argument("--test", type=int, default=200, help="and in the test split")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    counts = {"train": args.train, "validation": args.validation, "test": args.test}
    for split, snippets in build(read_packages(), args.folder, counts, args.seed).items():
        path = args.folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(vars(snippet), ensure_ascii=False) + "\n" for snippet in snippets))
        labels = Counter(snippet.label for snippet in snippets)
        print(f"{path}: {len(snippets)} snippets from {len({s.package for s in snippets})} packages")
        print("  " + ", ".join(f"{label} {number}" for label, number in sorted(labels.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
