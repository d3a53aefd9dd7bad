"""The 44 items of CLAIM 2024, each with the places where a model's documents would report it.

Numbers and sections are those of the publication, the words ours. A place is an element of a page, by its id, a number
of the manifest, or a section of this repository's documents; a document alone reports nothing of a model, so it only
stands beside other evidence. Who writes a new fact on the card gives its element an id and names it here.

References
----------
Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiol Artif Intell
2024;6(4):e240300
"""

from __future__ import annotations

from attrs import frozen

CARD, REPORT, MANIFEST = "card.html", "report.html", "manifest.json"


@frozen
class Place:
    """Where something may be reported: a document, and in it an element's id, a number's path, or a heading."""

    document: str
    at: str


@frozen
class ClaimItem:
    """One item: what it asks, and what answers it.

    It is reported where every place of `needs`, and of `one_of` at least one, is there and says something; `also` are
    further places. `not_applicable` says why no model's documents can answer it. An item without any place is one that
    nothing here records; `note` says so, or what the evidence leaves out.
    """

    number: int
    section: str
    topic: str
    asks: str
    needs: tuple[Place, ...] = ()
    one_of: tuple[Place, ...] = ()
    also: tuple[Place, ...] = ()
    note: str = ""
    not_applicable: str = ""


def _card(*anchors: str) -> tuple[Place, ...]:
    return tuple(Place(CARD, anchor) for anchor in anchors)


def _report(*anchors: str) -> tuple[Place, ...]:
    return tuple(Place(REPORT, anchor) for anchor in anchors)


def _manifest(*paths: str) -> tuple[Place, ...]:
    return tuple(Place(MANIFEST, path) for path in paths)


def _document(path: str, *headings: str) -> tuple[Place, ...]:
    return tuple(Place(path, heading) for heading in headings)


_TITLE, _INTRODUCTION = "Title and abstract", "Introduction"
_DESIGN, _DATA, _STANDARD = "Methods: study design", "Methods: data", "Methods: reference standard"
_PARTITIONS, _SIZE, _MODEL = "Methods: data partitions", "Methods: testing data", "Methods: model"
_TRAINING, _EVALUATION = "Methods: training", "Methods: evaluation"
_RESULTS, _PERFORMANCE = "Results: data", "Results: model performance"
_DISCUSSION, _OTHER = "Discussion", "Other information"

ITEMS = (
    ClaimItem(
        1,
        _TITLE,
        "Title",
        "The title says that it is a study of AI, and of which kind.",
        not_applicable="Asks for the title of a publication. The card names the kind of network (item 22).",
    ),
    ClaimItem(
        2,
        _TITLE,
        "Abstract",
        "A structured summary of design, methods, results and conclusions.",
        not_applicable="Asks for the abstract of a publication.",
    ),
    ClaimItem(
        3,
        _INTRODUCTION,
        "Background",
        "Clinical background, intended use and role of the AI.",
        needs=_card("intended-use", "intended-role"),
        also=_document("README.md", "Intended use and limits"),
        note="The literature is not reviewed.",
    ),
    ClaimItem(
        4,
        _INTRODUCTION,
        "Aims and hypotheses",
        "Aims, objectives, and the hypotheses that are tested.",
        needs=_card("criteria"),
        also=_document("docs/model-lifecycle.md", "The gate"),
        note="The hypotheses are the gate's criteria, which the site's settings fix.",
    ),
    ClaimItem(5, _DESIGN, "Design", "Prospective or retrospective.", needs=_card("design")),
    ClaimItem(6, _DESIGN, "Goal", "What the study is for, such as a new model.", needs=_card("goal")),
    ClaimItem(
        7,
        _DATA,
        "Sources",
        "Where the data come from; links to those that are public.",
        needs=_card("sources"),
        also=_report("slices"),
        note="None of the data are public.",
    ),
    ClaimItem(
        8,
        _DATA,
        "Eligibility",
        "Who is included and excluded, and how they were selected.",
        needs=_card("intended-role", "flow"),
        also=_card("left-out") + _document("docs/training.md", "Cohort"),
    ),
    ClaimItem(
        9,
        _DATA,
        "Preprocessing",
        "Every step from the image to the network's input.",
        needs=_card("contract"),
        also=_manifest("contract.spacing_mm", "contract.window_width_hu", "contract.normalisation"),
    ),
    ClaimItem(
        10,
        _DATA,
        "Subsets of the data",
        "Which parts of an image or examination are taken, how and by whom.",
        needs=_card("intended-role") + _report("slices"),
        also=_document("docs/series-selection.md", "Which series is staged", "Which slice is the key slice"),
    ),
    ClaimItem(
        11,
        _DATA,
        "De-identification",
        "How data are de-identified.",
        needs=_card("deidentification"),
        also=_document("docs/training.md", "Cohort") + _document("docs/operations.md", "Where PHI is"),
    ),
    ClaimItem(
        12,
        _DATA,
        "Missing data",
        "How much is missing, how it was handled, and what bias follows.",
        needs=_card("table-1") + _report("slices"),
        also=_report("nomogram-fit") + _manifest("nomogram.distribution"),
        note="What bias follows is not estimated.",
    ),
    ClaimItem(
        13,
        _DATA,
        "Acquisition",
        "The protocol of the images: scanners and their parameters.",
        needs=_manifest("reference.headers", "reference.quality"),
        also=_document("docs/validation.md", "Checks, in the order in which they name a refusal"),
        note="Of the validation patients' series.",
    ),
    ClaimItem(
        14,
        _STANDARD,
        "Definition",
        "What the reference standard is, so that others can repeat it.",
        needs=_card("reference-standard"),
        also=_document("docs/training.md", "Cohort"),
    ),
    ClaimItem(15, _STANDARD, "Reason", "Why this reference standard.", needs=_card("reference-reason")),
    ClaimItem(
        16,
        _STANDARD,
        "Annotators",
        "Who made the annotations, and their qualifications.",
        note="Routine pathology and whoever marked the key slice; their qualifications are not recorded.",
    ),
    ClaimItem(
        17,
        _STANDARD,
        "Annotation of the test set",
        "How, and with which tools, the test set was annotated.",
        note="Nobody annotates the holdout anew; who marked its key slices is not kept with the verdict.",
    ),
    ClaimItem(
        18,
        _STANDARD,
        "Variability",
        "Agreement between and within annotators, and what was done where they disagree.",
        note="One pathology report a patient; nothing is read twice.",
    ),
    ClaimItem(
        19,
        _PARTITIONS,
        "Assignment",
        "How cases were assigned to partitions, in which proportions, and how imbalance was handled.",
        needs=_card("partitions", "recipe"),
        also=_manifest("priors.training", "priors.cohort")
        + _report("fitted-on")
        + _document("docs/training.md", "Cohort", "Sealed holdout"),
    ),
    ClaimItem(
        20,
        _PARTITIONS,
        "Disjointness",
        "At which level partitions share nothing, such as the patient.",
        needs=_card("partition-rule"),
        also=_document("docs/training.md", "Leak gate"),
    ),
    ClaimItem(
        21,
        _SIZE,
        "Sample size",
        "How large the test set was to be, and why.",
        needs=_card("power"),
        also=_document("docs/model-lifecycle.md", "How many patients"),
    ),
    ClaimItem(
        22,
        _MODEL,
        "Description",
        "Inputs, outputs and layers, in full.",
        needs=_card("network", "vote"),
        also=_manifest("architecture", "backbone", "feature_count", "class_order")
        + _document("docs/architecture.md", "The model"),
    ),
    ClaimItem(
        23,
        _MODEL,
        "Software",
        "Libraries and frameworks, with versions.",
        needs=_report("made-by"),
        also=_document("docs/operations.md", "What is installed"),
        note="The report names the version of this service, whose lock files name the version of every library.",
    ),
    ClaimItem(
        24,
        _MODEL,
        "Initialisation",
        "How parameters were initialised; for transfer learning from which weights.",
        needs=_card("recipe"),
        also=_document("docs/training.md", "Training"),
    ),
    ClaimItem(
        25,
        _TRAINING,
        "Training",
        "Procedure, augmentation, hyperparameters, how convergence was watched.",
        needs=_card("recipe", "learning-curves"),
        also=_report("learning-curves") + _document("docs/training.md", "Training"),
    ),
    ClaimItem(
        26,
        _TRAINING,
        "Choice of the model",
        "How, and by which measure, the final model was chosen.",
        needs=_card("recipe") + _report("fitted-on"),
        also=_card("criteria") + _document("docs/training.md", "Whom each fit is of"),
    ),
    ClaimItem(
        27,
        _TRAINING,
        "Ensembles",
        "Where answers are combined: of what, and how.",
        needs=_card("vote"),
        note="One network; the answers of three slices are combined.",
    ),
    ClaimItem(
        28,
        _EVALUATION,
        "Metrics",
        "How performance is measured.",
        one_of=_card("holdout-metrics") + _report("validation"),
        also=_document("docs/audit-metrics.md", "The keys"),
    ),
    ClaimItem(
        29,
        _EVALUATION,
        "Uncertainty",
        "Measures of uncertainty and significance, and how they are computed.",
        needs=_card("bounds"),
        also=_card("criteria") + _document("docs/audit-metrics.md", "The keys"),
    ),
    ClaimItem(
        30,
        _EVALUATION,
        "Robustness",
        "Analyses of robustness or sensitivity.",
        note="None is made of a model version. Subgroups stand under item 39; drift is watched in service.",
    ),
    ClaimItem(
        31,
        _EVALUATION,
        "Explanations",
        "Methods that explain answers, and how they were checked.",
        needs=_card("heat"),
        also=_report("heat")
        + _document(
            "docs/adr/0004-heat-map-cells-lie-where-the-network-sees-them.md",
            "4. Heat map cells lie where the network sees them",
        ),
    ),
    ClaimItem(
        32,
        _EVALUATION,
        "Internal testing",
        "Testing on data of the same origin that were not trained on.",
        needs=_card("holdout", "holdout-metrics"),
        also=_report("validation") + _document("docs/training.md", "Sealed holdout"),
    ),
    ClaimItem(
        33,
        _EVALUATION,
        "External testing",
        "Testing on other hospitals' data, or why there was none.",
        needs=_card("external"),
        also=_document("docs/model-lifecycle.md", "External cohorts"),
    ),
    ClaimItem(
        34,
        _EVALUATION,
        "Registration",
        "Of a clinical trial: where it is registered.",
        not_applicable="No clinical trial: nobody's treatment is assigned.",
    ),
    ClaimItem(
        35,
        _RESULTS,
        "Numbers",
        "Patients or examinations included and excluded, as a flow.",
        needs=_card("flow"),
        also=_card("left-out", "holdout", "external"),
    ),
    ClaimItem(
        36,
        _RESULTS,
        "Characteristics",
        "Demographics and clinic of the cases in each partition.",
        needs=_card("table-1"),
        also=_report("table-1"),
    ),
    ClaimItem(
        37,
        _PERFORMANCE,
        "Performance",
        "The final model on the test data, beside the present standard, and by subgroup.",
        needs=_card("holdout-metrics"),
        also=_card("subgroups", "external") + _report("validation"),
        note="The present standard is the champion; no radiologist read the holdout for comparison.",
    ),
    ClaimItem(
        38,
        _PERFORMANCE,
        "Diagnostic accuracy",
        "Estimates of diagnostic accuracy with their precision.",
        needs=_card("holdout-stages"),
        also=_card("roc", "calibration"),
    ),
    ClaimItem(
        39,
        _PERFORMANCE,
        "Failures",
        "Analysis of wrong answers.",
        needs=_card("holdout-stages"),
        one_of=_card("subgroups") + _report("risk-coverage"),
        note="Counts alone: no single wrong answer is shown, since no patient stands on a card.",
    ),
    ClaimItem(40, _DISCUSSION, "Limits", "What the study and the model cannot do.", needs=_card("limits")),
    ClaimItem(
        41,
        _DISCUSSION,
        "Practice",
        "What it means for practice: intended use and clinical role.",
        needs=_card("intended-use", "intended-role"),
        also=_card("decision-curve") + _document("README.md", "Intended use and limits"),
    ),
    ClaimItem(
        42,
        _OTHER,
        "Protocol",
        "Where the full protocol or more technical detail is found.",
        needs=_report("made-by"),
        also=_document("docs/training.md", "Training: from the case book to a candidate")
        + _document("docs/model-lifecycle.md", "The gate"),
    ),
    ClaimItem(
        43,
        _OTHER,
        "Availability",
        "Whether software, model and data may be had, and how.",
        note="The licence of the software is in the repository; of model and data nothing is recorded.",
    ),
    ClaimItem(44, _OTHER, "Funding", "Who paid, and what part they had.", note="Nothing is recorded."),
)
