"""The encodings of files, by the names that Java or Python has for them."""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from churn.config import RawInput
from churn.errors import ConfigError
from churn.storage import java_class

_OF_PYTHON: Final = {
    "utf-8-sig": "UTF-8",
    **{f"utf-{bits}-{order}e": f"UTF-{bits}{order.upper()}E" for bits in (16, 32) for order in "bl"},
    "cp932": "windows-31j",
    "cp949": "x-windows-949",
    "cp950": "x-windows-950",
    "iso2022_jp": "ISO-2022-JP",
    "iso2022_kr": "ISO-2022-KR",
    "mac-latin2": "x-MacCentralEurope",
    **{
        f"mac-{script.lower()}": f"x-Mac{script}"
        for script in ("Roman", "Arabic", "Croatian", "Cyrillic", "Greek", "Iceland", "Romanian", "Turkish")
    },
}
"""What Java calls the encodings of Python that it does not know by Python's name, or takes for others."""


def java_charset(spark: SparkSession, named: str) -> str | None:
    """Java's own name of an encoding; None = neither Java nor Python knows it."""
    charset = java_class(spark, "java.nio.charset.Charset")
    of_python = ""
    with suppress(LookupError, ValueError):
        of_python = codecs.lookup(named).name
    for name in (_OF_PYTHON.get(of_python), named, of_python):
        with suppress(Py4JError, PySparkException):  # not even the form of a name
            if name and charset.isSupported(name):
                return str(charset.forName(name).name())
    return None


def python_codec(named: str) -> str | None:
    """Python's name of an encoding; None = Python does not have it."""
    of_java = {java.lower(): python for python, java in _OF_PYTHON.items()}
    with suppress(LookupError, ValueError):
        return codecs.lookup(of_java.get(named.lower(), named)).name
    return None


def unknown_encoding(source: RawInput, named: str) -> ConfigError:
    return ConfigError(
        f'{source.section("options")} encoding is {named!r}, which is unknown; want one such as "windows-1252"'
    )


def decode(spark: SparkSession, data: bytes, charset: str) -> str:
    """Bytes as text, without a byte-order mark, by Java, which has encodings that Python lacks; U+FFFD stands for what
    is none."""
    java = java_class(spark, "java.nio.charset.Charset").forName(charset)
    return str(java_class(spark, "java.lang.String")(data, java)).removeprefix("\ufeff")
