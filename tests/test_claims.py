"""The files of claims are checked to the last key, and the project's own say what the papers' tables say."""

import re
from types import SimpleNamespace

import pytest
import yaml

from fewscans import claims, claims_history, experiments, params, paths
from fewscans.claims import Test as ClaimTest
from fewscans.errors import ClaimsError, ParamsError
from fewscans.stats.noise import METRICS as NOISE

GOOD = """
paper: them-2020
short: Them 2020
claim: It is better.
notebook: 01_them
cite: they
tables:
  Table 1: {what: mean score, score: score, columns: [plain, group], rows: {30: [0.2, 0.45], 300: [1, 0.7]}}
  Table 2: {what: spread, score: deviation, columns: [plain, group], rows: {40: [0.3, 0.1]}, trained_on: {40: 30}}
headline: [group-better-n30]
headline_named: after
sections:
  - title: all of it
    defaults:
      where: Table 1
      kind: ordering
      direct: true
      named: before
      note: Sizes are theirs.
      runs: [labels-ct, labels-ct-twin]
      test: {baseline: plain, metric: froc, line: 0, claimed: above}
    at:
      3000: {note: Too few scans., runs: [labels-ct]}
    claims:
      - id: "{arm}-better-n{n}"
        for: {n: [30, 300, 3000], arm: [group, Wide]}
        statement: Trained on {n:,} scans, {arm} is better.
        test: {arm: "{arm}", n_train: "{n}"}
      - id: falls
        statement: It gains less with more scans.
        paper_value: Table 1
        test: {arm: group, n_train: 30, minus_n_train: 300}
      - id: alike
        statement: Both are alike.
        kind: value
        direct: false
        runs: [labels-ct, {run: numbers-mr, n_train: 1}]
        test: {arm: group, n_train: 30, metric: auc, margin: 0.1}
"""
ARMS = ("plain", "group", "Wide", "mean")


@pytest.fixture
def small(monkeypatch):
    """Two experiments with four arms each."""
    known = {
        "labels": SimpleNamespace(ARMS=dict.fromkeys(ARMS), smallest_n=2, beaten_by=None),
        "numbers": SimpleNamespace(ARMS=dict.fromkeys(ARMS), smallest_n=1, beaten_by="mse"),
    }

    def get(name):
        if name not in known:
            raise ParamsError(f"unknown experiment {name!r}; known: {', '.join(known)}")
        return known[name]

    monkeypatch.setattr(experiments, "get", get)


@pytest.fixture
def check(small, tmp_path):
    """Loads the good file with one text replaced by another."""

    def load(old="", new=""):
        assert old in GOOD, f"the good file does not hold {old!r}"
        (tmp_path / "them-2020.yaml").write_text(GOOD.replace(old, new, 1) if old else GOOD)
        return claims.load(tmp_path)

    return load


def swapped(**change):
    """A replacement of the last claim's test by another."""
    old = "{arm: group, n_train: 30, metric: auc, margin: 0.1}"
    return old, yaml.safe_dump(yaml.safe_load(old) | change, default_flow_style=True).strip()


def test_a_family_is_one_claim_for_each_combination_of_its_values(check):
    made = check()
    ids = [f"{arm}-better-n{n}" for n in (30, 300, 3000) for arm in ("group", "wide")]
    assert [claim.id for claim in made] == [*ids, "falls", "alike"]
    claim = made["wide-better-n3000"]
    assert claim.statement == "Trained on 3,000 scans, Wide is better."
    expected = ClaimTest("labels-ct", "Wide", 3000, "froc", 0.0, "above", baseline="plain")
    assert claim.tests == (expected,), "the size is a number, and the runs are those of that size"
    assert claim.note == "Sizes are theirs. Too few scans." and made["wide-better-n300"].note == "Sizes are theirs."
    assert [test.run for test in made["wide-better-n300"].tests] == ["labels-ct", "labels-ct-twin"]


def test_a_claim_overrides_its_sections_defaults_and_a_run_what_differs_there(check):
    claim = check()["alike"]
    assert (claim.kind, claim.direct, claim.where) == ("value", False, "Table 1")
    one, other = claim.tests
    assert (one.margin, one.claimed) == (0.1, None), "the margin replaces the side of the line"
    assert (other.run, other.n_train, one.n_train) == ("numbers-mr", 1, 30)
    assert (one.experiment, one.dataset, one.real) == ("labels", "ct", True)


def test_a_headline_that_was_chosen_after_its_results_is_named_after(check):
    made = check()
    one, other = made["group-better-n30"], made["group-better-n300"]
    assert (one.headline, one.named) == (True, "after") and (other.headline, other.named) == (False, "before")
    assert check("headline_named: after", "headline_named: before")["group-better-n30"].named == "before"


@pytest.mark.parametrize(
    ("table", "test", "value", "of"),
    [
        (1, "n_train: 30", 0.25, "score, group - plain at N = 30"),
        (1, "n_train: 300", -0.3, "score, group - plain at N = 300"),
        (1, "n_train: 300, baseline: null", 0.7, "score, group at N = 300"),
        (1, "n_train: 30, n_train_baseline: 300", -0.55, "score, group - plain at N = 30 and 300"),
        (1, "n_train: 30, minus_n_train: 300", 0.55, "score, group - plain at N = 30 minus the same at N = 300"),
        (1, "n_train: 300, metric: epochs_to_baseline", 0.7, "score, group / plain at N = 300"),
        (2, "n_train: 30, metric: 'seed_spread:auc'", 0.333, "deviation, group / plain at N = 30"),
    ],
)
def test_the_papers_number_follows_from_its_table(check, table, test, value, of):
    old = "paper_value: Table 1\n        test: {arm: group, n_train: 30, minus_n_train: 300}"
    claim = check(old, f"paper_value: Table {table}\n        test: {{arm: group, {test}}}")["falls"]
    assert (claim.paper_value, claim.paper_value_of) == (value, of)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        # keys and types
        ("cite: they", "cite: they\nextra: 1", "unknown key 'extra'; known keys: paper, short"),
        ("cite: they\n", "", "key 'cite' is missing"),
        ("title: all of it", "titel: all of it", "sections: 1: unknown key 'titel'; known keys: title, defaults"),
        ("kind: value", "kidn: value", "claim alike: unknown key 'kidn'; known keys: note, runs, where"),
        ("        statement: Both are alike.\n", "", "claim alike: key 'statement' is missing"),
        ("kind: value", "kind: vibe", "claim alike: kind: must be 'value', 'ordering', 'ratio' or 'invariance'"),
        ("direct: false", "direct: 'no'", "claim alike: direct: must be a valid boolean, got 'no'"),
        ("      direct: true\n", "", "key 'direct' is missing"),
        ("named: before", "named: earlier", "defaults: named: must be 'before' or 'after'"),
        ("[30, 300, 3000]", "[30, true]", "for: n: 2: must be a valid integer, got True"),
        ("[30, 300, 3000]", "[]", "for: n: must have at least 1 item"),
        ("3000: {note", "3000: {kind", "sections: 1: at: 3000: unknown key 'kind'; known keys: note, runs"),
        (*swapped(n_train="2"), "test on labels-ct: n_train: must be a valid integer, got '2'"),
        (*swapped(n_train=True), "n_train: must be a valid integer, got True"),
        (*swapped(n_train=30.0), "n_train: must be a valid integer, got 30.0"),
        (*swapped(line=float("nan")), "line: must be a finite number, got nan"),
        (*swapped(line="0"), "line: must be a valid number, got '0'"),
        (*swapped(seeds=3), "unknown key 'seeds'; known keys: run, arm, n_train"),
        (", line: 0", "", "key 'line' is missing"),
        # templates, ids, runs
        ("on {n:,} scans", "on {m} scans", "cannot fill 'Trained on {m} scans, {arm} is better.'; `for` has n, arm"),
        ("id: alike", "id: a claim", "id: must match pattern"),
        ("id: alike", "id: falls", "the id falls occurs twice"),
        ("-better-n{n}", "-better", "the id group-better occurs twice"),
        ("[labels-ct, {run: numbers-mr, n_train: 1}]", "[labels]", "test on labels: run: must match pattern"),
        ("[labels-ct, {run: numbers-mr, n_train: 1}]", "[labels-ct, labels-ct]", "runs names one twice"),
        ("[labels-ct, labels-ct-twin]", "[]", "runs is empty"),
        ("[labels-ct, labels-ct-twin]", "[3]", "runs: 1: must be a valid string, got 3"),
        ("[labels-ct, {run: numbers-mr, n_train: 1}]", "[volumes-mr]", "unknown experiment 'volumes'; known: labels"),
        # what cannot be measured
        ("[group, Wide]", "[group, Deep]", r"yaml: claim \{arm\}-better-n\{n\}: test on labels-ct: unknown arm 'Deep'"),
        (*swapped(arm="p5"), "unknown arm 'p5'; labels has plain, group, Wide, mean"),
        (*swapped(baseline="ResNet"), "unknown baseline 'ResNet'"),
        (*swapped(n_train=1), "n_train is 1; labels trains on 2 or more"),
        (*swapped(n_train_baseline=0), "n_train_baseline is 0"),
        (*swapped(metric="precision"), "unknown score 'precision'"),
        (*swapped(metric="data_efficiency:frok"), "unknown score 'frok'"),
        (*swapped(metric="noise_ratio", baseline="plain"), "noise_ratio compares with no baseline; drop plain"),
        (*swapped(metric="noise_ratio:sets", baseline=None), "unknown score 'noise_ratio:sets'"),
        (*swapped(metric="data_efficiency:auc", baseline=None), "baseline is missing"),
        (*swapped(minus_n_train=300, baseline=None), "baseline is missing"),
        (*swapped(metric="seed_spread:auc", minus_n_train=300), "seed_spread:auc compares at one size"),
        (*swapped(metric="epochs_to_baseline", n_train_baseline=300), "epochs_to_baseline compares at one size"),
        ("kind: value", "kind: ratio", "a claim of kind ratio needs claimed"),
        # what does not decide
        (*swapped(claimed="above"), "name either claimed, the side of the line, or margin"),
        (", claimed: above", "", "name either claimed"),
        ("claimed: above", "claimed: greater", "claimed: must be 'above', 'at least', 'below' or 'at most'"),
        (*swapped(margin=0.0), "margin: must be greater than 0, got 0.0"),
        ("kind: value", "kind: ordering", "a claim of kind ordering needs claimed"),
        ("kind: ordering", "kind: value", "a claim of kind value needs margin"),
        (*swapped(beats="mean"), "beats: labels names no score"),
        (*swapped(beats="median"), "unknown beats 'median'"),
        (*swapped(beaten_by="group"), "beaten_by is 'group', but beats does not name what"),
        (*swapped(beats="group"), "beats is 'group', which the test compares"),
        # tables and headlines
        ("paper: them-2020", "paper: us", "paper: must be the file's name, them-2020, got 'us'"),
        ("30: [0.2, 0.45]", "30: [0.2]", r"Table 1: rows \[30\] must hold 2 numbers"),
        ("30: [0.2, 0.45]", "30: [0.2, true]", "Table 1: rows: 30: 2: must be a valid number, got True"),
        ("30: [0.2, 0.45]", "'30': [0.2, 0.45]", "rows: 30: must be a valid integer"),
        ("trained_on: {40: 30}", "trained_on: {50: 30}", "trained_on names 50, which is no row"),
        ("paper_value: Table 1", "paper_value: 0.2", "paper_value: must be a valid string, got 0.2"),
        ("paper_value: Table 1", "paper_value: Table 9", "no table 'Table 9'; tables: Table 1, Table 2"),
        ("minus_n_train: 300", "minus_n_train: 3000", r"paper_value: Table 1 has no arm and N \('group', 3000\)"),
        ("paper_value: Table 1", "paper_value: Table 1\n        direct: false", "paper_value is for direct claims"),
        ("[group-better-n30]", "[group-better-n31]", "headline: no claim group-better-n31 in this file"),
        ("[group-better-n30]", str(list("abcdefghi")), "headline: must have at most 8 items"),
        # the file itself
        ("cite: they", "cite: they\ncite: us", "key 'cite' occurs twice"),
        ("cite: they", "cite: [", "while parsing a flow"),
        (GOOD, "- a list", r"them-2020.yaml: must be a mapping of named keys, got \['a list'\]"),
    ],
)
def test_anything_odd_is_one_error_that_names_the_file_and_the_key(check, old, new, complaint):
    with pytest.raises(ClaimsError, match=complaint) as caught:
        check(old, new)
    assert str(caught.value).startswith("them-2020.yaml: ")


def test_an_id_belongs_to_one_file(check, tmp_path):
    check()
    (tmp_path / "us-2021.yaml").write_text(GOOD.replace("them-2020", "us-2021"))
    with pytest.raises(ClaimsError, match="us-2021.yaml: .* the id group-better-n30 occurs twice"):
        claims.load(tmp_path)


def test_a_folder_without_claims_is_an_error(tmp_path):
    with pytest.raises(ClaimsError, match="holds no claims; each paper has a file such as"):
        claims.load(tmp_path)


def test_an_absent_table_or_claim_names_what_there_is(check):
    made = check()
    assert made.table("them-2020", "Table 1").loc[300, "group"] == 0.7
    with pytest.raises(ClaimsError, match="it holds them-2020 Table 1"):
        made.table("them-2020", "Table 9")
    with pytest.raises(ClaimsError, match="no claim 'b'"):
        made["b"]


NUMBER = {"run": "numbers-mr", "arm": "group", "n_train": 12, "metric": "icc", "line": 0.0, "baseline": "plain"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "icc of group - plain at N = 12, claimed above 0"),
        ({"baseline": None}, "icc of group at N = 12, claimed above 0"),
        ({"claimed": None, "margin": 0.02}, "icc of group - plain at N = 12, claimed within 0 ± 0.02"),
        ({"n_train_baseline": 120}, "icc of group - plain at N = 12 and 120, claimed above 0"),
        ({"minus_n_train": 50}, "icc of group - plain at N = 12 minus the same at N = 50, claimed above 0"),
        ({"split": "test-small-val"}, "icc of group - plain at N = 12, split test-small-val, claimed above 0"),
        ({"metric": "data_efficiency:icc"}, "data efficiency (icc) of group / plain at N = 12, claimed above 0"),
        ({"metric": "epochs_to_baseline"}, "epochs to baseline of group / plain at N = 12, claimed above 0"),
        ({"beats": "mean"}, "icc of group - plain at N = 12, claimed above 0, if group or plain beats mean"),
        ({"beats": "Wide", "beaten_by": "mean"}, "icc of group - plain at N = 12, claimed above 0, if mean beats Wide"),
    ],
)
def test_a_test_says_in_one_phrase_what_is_measured(change, said):
    assert ClaimTest(**NUMBER | {"claimed": "above"} | change).measured() == said


# ---- history


@pytest.fixture
def add(check, tmp_path):
    """Adds an entry to a history that holds the good claims."""
    check()

    def entry(lines, date="2026-01-02", why="it was asked for"):
        with open(tmp_path / "history.yaml", "a") as file:
            file.write(f"- date: {date}\n  why: {why}\n  claims:\n" + "".join(f"    {line}\n" for line in lines))

    entry(["gone: removed"], "2026-01-01", "first entry")
    everything = claims_history.changed_since_history(folder=tmp_path)
    assert len(everything) == 8
    entry(everything, "2026-01-01")
    return entry


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("metric: auc, margin: 0.1", "metric: auc, margin: 0.2", ["alike"]),
        ("metric: auc, margin: 0.1", "metric: brier, margin: 0.1", ["alike"]),
        ("n_train: 30, metric: auc", "n_train: 40, metric: auc", ["alike"]),
        ("{run: numbers-mr, n_train: 1}", "{run: numbers-mr, n_train: 2}", ["alike"]),
        ("{run: numbers-mr, n_train: 1}", "numbers-ct", ["alike"]),
        ("n_train: 30, minus_n_train: 300", "n_train: 300, minus_n_train: 30", ["falls"]),
        ("arm: [group, Wide]", "arm: [group]", ["wide-better-n30", "wide-better-n300", "wide-better-n3000"]),
        ("id: alike", "id: same", ["alike", "same"]),
        ("headline: [group-better-n30]", "headline: [group-better-n30, falls]", ["falls"]),
        ("headline_named: after", "headline_named: before", ["group-better-n30"]),
        ("Both are alike.", "They do not differ.", []),
        ("paper_value: Table 1", "note: From their text.", []),
    ],
)
def test_history_misses_a_change_of_what_decides_until_it_is_entered_but_no_change_of_words(
    check, add, tmp_path, old, new, changed
):
    assert claims_history.changed_since_history(folder=tmp_path) == []
    check(old, new)
    lines = claims_history.changed_since_history(folder=tmp_path)
    assert sorted(line.partition(":")[0] for line in lines) == sorted(changed)
    if lines:
        add(lines)  # as they are
    assert claims_history.changed_since_history(folder=tmp_path) == []


def test_a_difference_says_what_was_and_what_is(check, add, tmp_path):
    check("margin: 0.1", "margin: 0.2")
    (line,) = claims_history.changed_since_history(folder=tmp_path)
    new, old = line.split("  # was: ")
    assert "claimed within 0 ± 0.2; labels-ct |" in new and "claimed within 0 ± 0.1; labels-ct |" in old


@pytest.mark.parametrize(
    ("lines", "options", "complaint"),
    [
        (["x: y"], {"date": "2025-12-31"}, "entries must be in the order of their dates"),
        (["x: y"], {"date": "soon"}, "date: must be a valid date, got 'soon'"),
        (["x: y"], {"why": "''"}, "why: must have at least 1 character"),
        (["x: 1"], {}, "claims: x: must be a valid string, got 1"),
        ([], {}, "claims: must be a valid dictionary, got None"),
    ],
)
def test_an_entry_of_the_history_has_a_date_in_order_a_reason_and_texts(add, tmp_path, lines, options, complaint):
    add(lines, **options)
    with pytest.raises(ClaimsError, match=f"^history.yaml: {complaint}"):
        claims_history.changed_since_history(folder=tmp_path)


# ---- the project's own claims


@pytest.fixture(scope="module")
def ours():
    return claims.load()


def test_the_projects_claims_have_not_changed_without_an_entry_in_the_history(ours):
    assert claims_history.changed_since_history(ours) == [], "add these lines to history.yaml, with a date and why"


def test_the_projects_headlines_are_few_and_say_when_they_were_chosen_and_our_controls_come_last(ours):
    assert list(ours.papers)[-1] == "ours"
    headlines = {paper: [c for c in ours if c.paper == paper and c.headline] for paper in ours.papers}
    assert all(0 < len(claims) <= 8 for claims in headlines.values())
    for paper in ("liu-2017", "park-2019", "winkels-cohen-2019", "dubost-2019"):
        assert {claim.named for claim in headlines[paper]} == {"before"}, paper
    own = {claim.id: claim.named for claim in headlines["ours"]}
    gradient = [name for name in own if name.startswith("set-gradient-")]
    assert {name for name, named in own.items() if named == "before"} == set(gradient)
    assert gradient and len(headlines["winkels-cohen-2019"] + headlines["dubost-2019"]) + len(gradient) <= 14


SEEN = {"gcnn-luna16-patches", "hydranet-msd-hippocampus"}  # other networks had been tested on the same cases before


def test_claims_named_after_others_were_tested_on_the_same_cases_say_so(ours):
    """Of gradients none is of test cases."""
    seen = [claim for claim in ours if claim.seen]
    for claim in ours:
        scored = {test.run for test in claim.tests if test.metric not in NOISE}
        if claim.named == "before" and SEEN & scored:
            assert claim.seen, claim.id
    assert len(seen) > 50 and {claim.named for claim in seen} == {"before"}


def test_the_papers_own_numbers_satisfy_every_ordering(ours):
    """A claim that its own paper contradicts would have been put the wrong way round."""
    known = [claim for claim in ours if claim.paper_value is not None]
    for claim in known:
        test = claim.tests[0]
        if test.margin is not None:
            assert abs(claim.paper_value - test.line) <= test.margin, claim.id
            continue
        assert claim.paper_value > test.line if test.claimed == "above" else claim.paper_value < test.line, claim.id
    assert len(known) == 51


def test_tables_of_a_paper_agree_where_they_overlap(ours):
    one = ours.table("winkels-cohen-2019", "Table 2")
    for name in ("Table 3", "Table 4"):
        other = ours.table("winkels-cohen-2019", name)
        shared = [column for column in other if column in one]
        assert len(shared) == 3 and (other[shared] == one[shared]).all().all()


def test_claims_on_the_plane_name_one_group_in_advance_and_ask_real_data_and_the_twin_the_same(ours):
    """p4m throughout: with the best of several groups, a difference of 0 would look like a gain."""
    planar = [claim for claim in ours if claim.id.startswith("planar-")]
    assert len(planar) == 26
    for claim in planar:
        real, *twins = claim.tests
        assert real.run == "gcnn-luna16-patches" and real.arm in ("p4m", "p4m-compute", "p4m-upright"), claim.id
        asked = [vars(real) | {"run": f"{real.run}-twin"}] * (real.split != "test-malignant")  # no twin is graded
        assert [vars(twin) for twin in twins] == asked, claim.id


def test_groups_in_space_are_compared_with_the_plain_network_at_every_size_and_nobody_picks_the_best(ours):
    at = {run: {(t.arm, t.n_train) for c in ours if c.paper == "winkels-cohen-2019" for t in c.tests if t.run == run and
                (t.baseline, t.metric, t.split) == ("Z3", metric, "test") and t.minus_n_train is None}
          for run, metric in (("gcnn-lidc-voi", "auc"), ("gcnn-lidc-voi-malignancy", "matched_auc@0.1"),
                              ("gcnn-hippocampus-patches", "auc"))}  # fmt: skip
    assert at["gcnn-lidc-voi"] == {(arm, n) for arm in ("D4", "D4h") for n in (30, 60, 120)}
    assert at["gcnn-lidc-voi-malignancy"] == {(arm, n) for arm in ("D4", "D4h") for n in (30, 100, 250)}
    ladder = {("D4", n) for n in (30, 300, 3000, 30000)} | {("O", n) for n in (30, 300)}
    assert at["gcnn-hippocampus-patches"] == ladder


@pytest.mark.parametrize("run", ["hydranet-msd-hippocampus", "hydranet-luna16-area"])
def test_sums_are_tested_on_real_data_at_equal_labels_and_equal_compute_and_against_their_controls(ours, run):
    """Else a gain could be that of more passes or of the same sets over and over; and networks may be worth nothing."""
    asked = {(t.arm, t.baseline, t.n_train) for c in ours for t in c.tests if (t.run, t.metric) == (run, "log_mse")}
    for baseline in ("base", "base-compute"):
        assert {("hydra-4", baseline, n) for n in (25, 150)} <= asked
    controls = {("hydra-4", "hydra-4-fixed"), ("hydra-4-permuted", "mean"), ("hydra-4-black10", "hydra-4")}
    assert {(*pair, 25) for pair in controls} <= asked
    simpler = ("blocks", "crop") if run == "hydranet-msd-hippocampus" else ("blocks",)
    assert {("base-compute", name, n) for name in simpler for n in (100, 150)} <= asked
    assert {("base-compute", "mean", n) for n in (25, 150)} <= asked


def test_what_networks_that_learned_nothing_would_pass_asks_first_whether_one_learned(ours):
    """Alike within a margin, no better by so much, steadier: all of it holds of constants."""
    asked = set()
    for claim in ours:
        for test in claim.tests:
            passed = test.margin is not None or test.claimed == "at most" or test.metric.startswith("seed_spread:")
            compared = passed or test.metric == "log_mse"  # as are all comparisons of that score
            if test.experiment == "hydranet" and compared and test.baseline != "mean" and test.metric not in NOISE:
                assert test.beats == "mean", claim.id
                asked.add(claim.id)
    assert {"replacement-alike-n25", "black-images-alike-n25", "sums-spread-n25", "hydra-wmh-spread-n24"} <= asked


def test_arms_and_sizes_of_runnable_claims_exist_in_the_grids(ours):
    """In the grid `paper`; on real data in `long`, too, which is what is published without a GPU."""
    loaded, checked = params.load(paths.root() / "params.yaml"), 0
    for claim in ours:
        for test in claim.tests:
            grids = loaded.grids.get(test.run, {})
            for profile in {"paper", *(("long",) if test.real else ())} & set(grids):
                for arm in filter(None, (test.arm, test.baseline, test.beats, test.beaten_by)):
                    trained = experiments.get(test.experiment).ARMS[arm].computed_with or arm
                    where = f"{claim.id}: {arm} is not in the grid {profile} of {test.run}"
                    assert trained in grids[profile].arms, where
                    for n in filter(None, (test.n_train, test.minus_n_train)):
                        if test.run == "gcnn-luna16" and n >= 3000:  # the set is too small, and the claim says so
                            assert re.search("more nodules than LUNA16 has|too few nodules", claim.note), claim.id
                        else:
                            assert n in grids[profile].arms[trained], f"{where} at N = {n}"
                        checked += 1
    assert checked > 800


def test_no_claim_asks_for_a_split_that_its_experiment_does_not_write(ours):
    written = {"gcnn": {"test", "test-best", "test-turned", "test-malignant"}, "hydranet": {"test", "test-best", "val"}}
    known = params.load().grids
    for claim in ours:
        for test in claim.tests:
            assert test.split in written.get(test.experiment, {test.split}), f"{claim.id}: {test.split}"
            grids = [grid for profile, grid in known.get(test.run, {}).items() if profile in ("long", "paper")]
            assert test.split != "test-turned" or all(grid.turned_test for grid in grids), claim.id
