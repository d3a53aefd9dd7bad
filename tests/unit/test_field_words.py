"""The field's words: the metaphors of the first version stand nowhere any more."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# Landed migrations are never edited, and the committed artefact is named by its digest; this file holds the words.
KEPT = ("sql/migrations/", "gtr_batch/simulation/demo_artefact/", "tests/unit/test_field_words.py")
BANNED = {
    "site": r"\bhouses?\b|[a-z_]house\b|House\b|\bopen_house\b|\bministry\b|\binspectorate\b|\bschool\b",
    "step, section or module": r"\brooms?\b",
    "model store": r"\bshel(f|ves)\b|Shelf",
    "retire, or take out of use": r"\b[Ll]a(y|id|ys) (it |them |[a-z ]{1,40} )?aside\b",
    "term as champion": r"\breign",
    "progress": r"\.tell\(|\btell=|\bdef tell\(",
    "sentence_of, without_markup, checked_name": r"(?<![a-z])_said\b|(?<![a-z._])_?plain\(",
    "invalid": r"\b[Uu]nlawful(?!_uid[\"'])",
    "kept permanently": r"\bfor ever\b",
    "not sent": r"\bsent to nobody\b",
}
IN_THE_AUDIT = {
    "watch, watching since": r"(?<![\"`])\bepochs?\b(?![\"`])|(?<!--)\brestart(s|ed)?\b"
}  # in quotes: keys of older files
AUDIT = (
    "gtr_batch/audit/",
    "gtr_batch/domain/audit",
    "gtr_batch/db/audit",
    "gtr_batch/cli/audit",
    "docs/audit",
    "sql/queries/audit",
    "tests/unit/audit/",
    "tests/adapters/audit/",
)


def _texts() -> dict[str, str]:
    names = subprocess.run(
        ["git", "ls-files"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ends = (".py", ".sql", ".md", ".jinja", ".template", ".toml", ".css", "Makefile", "run")
    return {
        name: (REPOSITORY / name).read_text(encoding="utf-8")
        for name in names
        if name.endswith(ends) and not name.startswith(KEPT)
    }


@pytest.mark.parametrize(("instead", "banned"), BANNED.items())
def test_no_metaphor_stands_where_the_field_has_a_word(instead, banned):
    texts = _texts()

    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(banned, line)
    ]

    assert len(texts) > 400
    assert not found, f"say {instead!r} instead:\n" + "\n".join(found)


@pytest.mark.parametrize(("instead", "banned"), IN_THE_AUDIT.items())
def test_a_monitor_has_a_watch_and_no_epoch(instead, banned):
    texts = {name: text for name, text in _texts().items() if name.startswith(AUDIT)}

    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(banned, line)
    ]

    assert len(texts) > 50
    assert not found, f"say {instead!r} instead:\n" + "\n".join(found)
