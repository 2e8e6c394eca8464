"""What a data card may say: checked, and no key that is not known."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

ClassName = Literal["HC", "PD", "unknown"]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class LabelRule(_Part):
    """One place that states the class. All rules that apply to a file must agree; text is compared without case.

    `from = "folder"`: a folder of the file's path; "group": the named group `name` of the file-name pattern; "column": the
    column `name` of a metadata sheet. `values` gives the class of every text.
    """

    source: Literal["folder", "group", "column"] = Field(alias="from")
    name: str = ""
    values: dict[str, ClassName]

    @model_validator(mode="after")
    def _named(self) -> LabelRule:
        if self.source != "folder" and not self.name:
            raise ValueError(f"a label from a {self.source} must name it")
        return self


class Exclusion(_Part):
    """Files that match are left out, and the report says why."""

    match: Pattern
    reason: str


class TaskRule(_Part):
    """Files whose path matches (anywhere, without case) are of this task; the first rule that matches counts."""

    match: Pattern
    task: str


class Sheet(_Part):
    """A metadata table to join: csv, tsv or xlsx found by name anywhere under the root.

    `key` is its column of identifiers (`key_pattern` picks a part of the cell), compared with the file's "path", "name", "stem"
    or "speaker"; `columns` maps manifest columns to its columns, `values` translates texts, everything else stays unknown;
    `only` restricts it to files of one class.
    """

    files: list[str]
    key: str
    match: Literal["path", "name", "stem", "speaker"] = "stem"
    key_pattern: Pattern = ""
    sheet_name: str | int = 0
    columns: dict[
        Literal["speaker", "task", "language", "sex", "age", "updrs", "updrs_speech", "hoehn_yahr", "medication"], str
    ] = {}
    values: dict[str, dict[str, str]] = {}
    only: Literal["HC", "PD", ""] = ""


class FetchFile(_Part):
    """A file to download; `checksum` is "sha256:..." or "md5:..." of the publisher, empty where none is known here."""

    url: str
    name: str
    checksum: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|)$")] = ""
    size_bytes: int | None = None
    unpack: bool = False


class DataCard(_Part):
    """A data set: where its recordings lie, what their names say, who states the class, and what may be done with it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    language: str
    license: str
    source: str
    access: Literal["open", "request", "local"]
    size: str
    how_to_obtain: str = ""
    sample_rate_hz: int | None = None
    patterns: list[Pattern]
    labels: list[LabelRule] = []
    exclude: list[Exclusion] = []
    tasks: list[TaskRule] = []
    task: str = "unknown"
    medication: dict[Literal["HC", "PD"], str] = {}
    sex_values: dict[str, Literal["F", "M"]] = {"F": "F", "M": "M"}
    speaker_case: Literal["keep", "upper", "lower"] = "keep"
    sheets: list[Sheet] = []
    notes: list[str] = []
    pseudonymize: bool = False
    splits: str = ""
    sha256_table: str = ""
    fetch: list[FetchFile] = []

    @model_validator(mode="after")
    def _consistent(self) -> DataCard:
        for pattern in self.patterns:
            if "speaker" not in re.compile(pattern).groupindex:
                raise ValueError(f"the pattern {pattern!r} has no named group 'speaker': there is always a speaker")
        groups = {name for pattern in self.patterns for name in re.compile(pattern).groupindex}
        for rule in self.labels:
            if rule.source == "group" and rule.name not in groups:
                raise ValueError(f"a label comes from the group '{rule.name}', which no pattern has")
        if self.access == "open" and not self.fetch and not self.how_to_obtain:
            raise ValueError("an open set needs [[fetch]] or how_to_obtain")
        if self.access == "request" and not self.how_to_obtain:
            raise ValueError("a set on request needs how_to_obtain")
        return self
