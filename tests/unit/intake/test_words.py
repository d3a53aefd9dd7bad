"""Phase words of several languages and vendors."""

from __future__ import annotations

import pytest

from gtr_batch.intake.words import read

P, A, D, U, E = "portal_venous", "arterial", "delayed", "unenhanced", "enhanced"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Abdomen portal venous 3.0", {P}),
        ("ABD PV 2mm", {P}),
        ("Abd_PVP_1.25", {P}),
        ("Abdomen venös 5.0 B30f", {P}),
        ("Oberbauch portalvenöse Phase", {P}),
        ("Abdome fase portal", {P}),
        ("Abdomen temps veineux", set()),
        ("ABDOMEN VEN 70S", {P}),
        ("Abdomen 70s", {P}),
        ("ABD 65-70s 2.0", {P}),
        ("delay 70 sec", {P}),
        ("门静脉期 1mm", {P}),
        ("静脉期", {P}),
        ("動脈相", {A}),
        ("动脉期", {A}),
        ("ABD ART 1.25", {A}),
        ("Late arterial", {A}),
        ("late art 35s", {A}),
        ("30s", {A}),
        ("Delayed 5 min", {D}),
        ("Spätphase", {D}),
        ("延迟期", {D}),
        ("excretory 180s", {D}),
        ("NON CONTRAST", {U}),
        ("Abdomen nativ 5.0", {U}),
        ("W/O", {U}),
        ("ABD WO CONTRAST", {U}),
        ("unenhanced", {U}),
        ("Abdomen ohne KM", {U}),
        ("平扫", {U}),
        ("Abdome sem contraste", {U}),
        ("Abdomen sin contraste", {U}),
        ("Addome senza mdc", {U}),
        ("Stomach plain 5.0 CE", {U}),
        ("CT ABDOMEN PELVIS W CONT", {E}),
        ("ABD C+", {E}),
        ("Abdomen +C", {E}),
        ("Abdomen mit KM", {E}),
        ("增强", {E}),
        ("CT ABD W & W/O CONTRAST", set()),
        ("ABD/PELVIS W WO", {U}),
        ("Abdomen_Pelv  5.0  B30f", set()),
        ("AP scout", set()),
        ("Alternative recon", set()),
        ("prevention", set()),
        ("Partial 1.5", set()),
        ("5.0", set()),
        ("", set()),
    ],
)
def test_reads_the_phase_that_a_description_names(text: str, said: set[str]) -> None:
    assert {str(w.says) for w in read(text)} & {P, A, D, U, E} == said


def test_keeps_only_the_matched_word_of_a_text() -> None:
    words = read("Mueller Anna portal venous for Dr Meier")

    assert [w.word for w in words] == ["portal venous"]
