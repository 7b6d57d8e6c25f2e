"""Words that stand for a term of the field, where the term should be: `python -m tests.vocabulary [FILE ...]`.

Lists each identifier, message, comment and page of documentation that uses one, with the term to use instead, and fails
if there is any. docs/glossary.md holds the terms.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
OWN = "tests/vocabulary.py"  # names the words themselves
CODE = ("churn", "jobs", "dags", "models", "tests", "sample_data")
TEXT = (".md", ".toml", ".j2", ".cfg")

IDENTIFIERS = {
    "appraisal appraise appraised": "evaluation, evaluate",
    "ask asks asked asking": "request, requests",
    "came": "received, arrived",
    "describe described describes": "compute, computed",
    "fading": "decayed",
    "judge judged judges judging": "evaluate, evaluated; classify, resolve of rows",
    "kept": "cached, retained, stored",
    "lately": "recency",
    "look looks looked": "read, monitoring run",
    "majority": "negatives_per_positive",
    "mine": "incoming",
    "moment moments": "as_of, timestamp, event_time",
    "moved": "drifted",
    "panel": "customer_features",
    "penalty": "reg_param_total",
    "piece pieces": "batch, serialized",
    "rival rivals": "conflicting",
    "ripe ripened unripe": "matured",
    "said say says": "content_hash, specified, progress",
    "stand stands": "origin, as_of",
    "stretch stretches": "period",
    "swept": "evicted",
    "told": "known, specified, deduplicated",
    "turn turns": "shard, batch",
    "usual": "typical, default, threshold",
    "watch watched": "monitor, monitored",
    "way ways": "route, partition",
    "withdrawn": "retracted",
    "words": "vocabulary",
}
"""Parts of a name in snake or camel case, and what to write instead."""

WHOLE = {
    "audit": "random_audit",
    "blocked": "blocked_card_days",
    "blocked_days": "blocked_card_days",
    "judged_days": "period_days",
    "others": "existing",
    "reach": "window, lead, horizon",
    "rule_of_thumb": "baseline",
    "slot": "shard",
    "slots": "shards",
}
"""Whole names; `slot` is a term in training and in reasons, for an element of a feature vector."""

PROSE = {
    r"apprais\w+": "evaluation",
    r"fading": "decayed",
    r"has moved|have moved|what moved": "drifted",
    r"is watched|was watched|are watched": "monitored",
    r"judg\w+": "evaluate; classify or resolve of rows",
    r"lately": "recency",
    r"looked? at|looks at": "read, compared, monitored",
    r"moments?": "as-of, time, event time",
    r"panel": "customer features",
    r"pieces?": "batch, serialized batch",
    r"ripe\w*|unripe": "matured",
    r"rivals?": "conflicting rows",
    r"rules? of thumb": "baseline",
    r"(a|the|each|every) stand|stands at": "backtest origin",
    r"stretch(es)?": "period",
    r"swept": "evicted",
    r"told": "known, specified, deduplicated",
    r"usual": "typical, default",
    r"withdrawn": "retracted",
}
"""In comments, docstrings, messages and documents."""

SALT = '"theft moment"'
"""Of a draw of the simulation: another word would make another company."""

_PARTS = {word: term for words, term in IDENTIFIERS.items() for word in words.split()}
_PROSE = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), term) for pattern, term in PROSE.items()]
_OF_VECTORS = ("churn/training/", "tests/training")
_SPLIT = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True)
class Finding:
    """A word where a term should be."""

    file: str
    line: int
    word: str
    term: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word!r}; write {self.term}"


def in_identifier(name: str, *, training: bool = False) -> tuple[str, str] | None:
    """The word in a name and the term for it.

    >>> in_identifier("told_until"), in_identifier("JudgedRows"), in_identifier("look_back")
    (('told', 'known, specified, deduplicated'), ('judged', 'evaluate, evaluated; classify, resolve of rows'), None)
    """
    plain = name.replace("look_back", "window")  # a term of its own
    bare = plain.strip("_").lower()
    if bare in WHOLE and not (training and bare.startswith("slot")):
        return bare, WHOLE[bare]
    parts = map(str.lower, _SPLIT.findall(plain))
    return next(((part, _PARTS[part]) for part in parts if part in _PARTS), None)


def in_prose(text: str) -> Iterator[tuple[int, str, str]]:
    """The words in a text, each with its line, counted from 0, and the term for it."""
    for number, line in enumerate(text.replace(SALT, "").splitlines()):
        for pattern, term in _PROSE:
            for match in pattern.finditer(line):
                yield number, match[0], term


def in_python(text: str, *, training: bool = False) -> Iterator[tuple[int, str, str]]:
    """The words in identifiers, comments and strings of a Python file, each with its line and the term for it."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and (found := in_identifier(token.string, training=training)):
            yield token.start[0], *found
        elif token.type in (tokenize.COMMENT, tokenize.STRING):
            for number, word, term in in_prose(token.string):
                yield token.start[0] + number, word, term


def findings(file: Path) -> list[Finding]:
    """The words in a file."""
    name, text = str(file.relative_to(PROJECT)), file.read_text("utf-8")
    if file.suffix == ".py":
        found = list(in_python(text, training=name.startswith(_OF_VECTORS) or name.endswith("reasons.py")))
    else:
        found = [(number + 1, word, term) for number, word, term in in_prose(text)]
    return [Finding(name, line, word, term) for line, word, term in found]


def files() -> list[Path]:
    """Every file whose words are the project's own."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    own = [name for name in listed if name != OWN and (PROJECT / name).exists()]
    code = [name for name in own if name.startswith(CODE) and name.endswith((".py", *TEXT))]
    documents = [name for name in own if name.endswith(TEXT) and name not in code and "decisions/" not in name]
    return [PROJECT / name for name in (*code, *documents)]


def main(argv: Sequence[str]) -> int:
    chosen = [Path(name).resolve() for name in argv] or files()
    found = [one for file in chosen for one in findings(file)]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
