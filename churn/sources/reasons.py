"""Groups of reasons: which of a company's words a call's reason or queue contains, as SQL over `calls`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final
from unicodedata import category, decomposition, normalize

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn.config import Source
from churn.storage import literal

_MOST_FREQUENT: Final = 5
_SHOWN: Final = 40
"""Characters of a reason that a message shows."""

_LETTER: Final = r"[\p{L}\p{M}\p{N}]"
_BETWEEN: Final = r"[^\p{L}\p{M}\p{N}\n]+"
_LETTERS: Final = (range(0x00C0, 0x0530), range(0x1E00, 0x2000))
"""Latin, Greek and Cyrillic: the code points among which accented letters are looked for."""


def _plain(letter: str) -> str:
    """A lower-case letter without its accents."""
    return normalize("NFD", letter)[0].lower()


_ACCENTED: Final = "".join(
    letter for of in _LETTERS for letter in map(chr, of) if decomposition(letter)[:1].isalnum() and letter.islower()
)
_STROKED: Final = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "ς": "\u03c3"}
_MARKS: Final = "".join(map(chr, range(0x0300, 0x0370)))
_FROM: Final = _ACCENTED + "".join(_STROKED) + _MARKS
_TO: Final = "".join(map(_plain, _ACCENTED)) + "".join(_STROKED.values())
_TRANSLATION: Final = str.maketrans(_FROM[: len(_TO)], _TO, _MARKS)


def reason_groups(source: Source) -> str:
    """The names of the groups whose words the reason or the queue contains, separated by blanks; null = none."""
    text = f"translate(replace(lower(concat_ws('\\n', reason, queue)), 'ß', 'ss'), {literal(_FROM)}, {literal(_TO)})"
    groups = source.reasons.model_dump()
    named = (f"if(rlike({text}, {literal(_pattern(of))}), '{name}', null)" for name, of in groups.items() if of)
    return f"nullif(concat_ws({', '.join([literal(' '), *named])}), '')"


def ungrouped_reasons(calls: DataFrame, shown: Callable[[str], str] = str) -> str | None:
    """Which share of calls with a reason is in no group, and the most frequent such reasons; None = no call has one.

    Where a call has no reason, its queue counts. `shown` is what a message has for a reason.
    """
    by_reason = (
        calls.selectExpr("coalesce(reason, queue) AS reason", "reason_groups IS NULL AS is_alone")
        .where("reason IS NOT NULL")
        .groupBy("reason")
        .agg(F.expr("count(*) AS calls"), F.expr("count_if(is_alone) AS alone"))
    )
    all_calls, alone = by_reason.agg(F.sum("calls"), F.sum("alone")).collect()[0]
    if not all_calls:
        return None
    share = f"calls: {100 * alone / all_calls:.0f} % of {all_calls:,} with a reason are in no group of [reasons]"
    if not alone:
        return share
    top = by_reason.where("alone > 0").orderBy(F.desc("alone"), "reason").limit(_MOST_FREQUENT).collect()
    frequent = ", ".join(f"{shown(row['reason'])[:_SHOWN]!r} ({row['alone']:,})" for row in top)
    return (
        f"{share}; the most frequent reasons there are {frequent};"
        " add their words to [reasons] where they belong to one"
    )


def _pattern(terms: Sequence[str]) -> str:
    """A pattern, for plain lower-case text, that finds any of the words."""
    return "|".join(map(_word_pattern, terms))


def _word_pattern(word: str) -> str:
    plain = word.lower().replace("ß", "ss").translate(_TRANSLATION)
    first, *rest = (_literal_pattern(part) for part in re.split("%+", plain))
    last = rest[-1] if rest else first
    begin, end = (f"(?<!{_LETTER})" if first else ""), (f"(?!{_LETTER})" if last else "")
    return begin + ".*".join(filter(None, [first, *rest])) + end


def _literal_pattern(part: str) -> str:
    """The words of a part, with whatever may stand between them."""
    runs = groupby(part, key=lambda letter: category(letter)[0] in "LMN")
    return _BETWEEN.join("".join(letters) for is_word, letters in runs if is_word)
