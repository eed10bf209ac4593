"""claims.yaml is checked to the last key, and the project's own file says what the paper's tables say."""

import re

import pytest
import yaml

from fewscans import claims, paths
from fewscans.errors import ClaimsError
from fewscans.results import base_arm

GOOD = {
    "papers": {
        "ours": {"cite": "us"},
        "them": {
            "cite": "they",
            "tables": {"Table 1": {"what": "score", "columns": ["Z3", "D4h"], "rows": {30: [0.2, 0.4], 300: [1, 0.7]}}},
        },
    },
    "claims": [
        {
            "id": "a-claim",
            "paper": "them",
            "where": "Table 1",
            "statement": "It is better.",
            "kind": "ordering",
            "direct": True,
            "paper_value": 0.2,
            "paper_value_of": "difference",
            "tests": {
                "gcnn-luna16": {
                    "arm": "D4h", "baseline": "Z3", "n_train": 30, "metric": "froc", "line": 0, "claimed": "above",
                },
                "gcnn-luna16-patches-twin": {
                    "arm": "p4m", "n_train": 30, "metric": "auc", "line": 0.5, "claimed": "above",
                },
            },
        }
    ],
}  # fmt: skip


@pytest.fixture
def check(tmp_path):
    def load(change=lambda raw: None):
        raw = yaml.safe_load(yaml.safe_dump(GOOD))
        change(raw)
        path = tmp_path / "claims.yaml"
        path.write_text(yaml.safe_dump(raw))
        return claims.load(path)

    return load


def test_a_good_file_is_read(check):
    made = check()
    claim = made["a-claim"]
    assert len(made) == 1 and [c.id for c in made] == ["a-claim"] and claim.direct
    test, twin = claim.tests
    assert (test.experiment, test.dataset, test.real) == ("gcnn", "luna16", True)
    assert (twin.dataset, twin.real) == ("luna16-patches-twin", False)
    assert test.measured() == "froc: D4h - Z3 at N = 30: above 0"
    assert made.table("them", "Table 1").loc[300, "D4h"] == 0.7


def put(**change):
    def apply(raw):
        raw["claims"][0].update(change)

    return apply


def drop(key):
    return lambda raw: raw["claims"][0].pop(key)


def put_test(**change):
    def apply(raw):
        test = raw["claims"][0]["tests"]["gcnn-luna16"]
        test.update(change)
        for key in [k for k, v in test.items() if v == "gone"]:
            del test[key]

    return apply


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put(margn=1), "claim a-claim: unknown key 'margn'"),
        (drop("statement"), "claim a-claim: key 'statement' is missing"),
        (drop("id"), "claim number 1: key 'id' is missing"),
        (put(id="A claim"), "id must be small letters"),
        (put(paper="nobody"), "paper 'nobody' is not under papers"),
        (put(kind="vibe"), "kind 'vibe' must be one of value, ordering"),
        (put(direct="yes"), "direct must be bool, got 'yes'"),
        (put(paper_value="0.2"), "paper_value must be float"),
        (put(paper_value=None), "paper_value and paper_value_of go together"),
        (put(tests={}), "tests is empty"),
        (put(tests=[]), "tests must be a mapping"),
        (put(tests={"luna16": {}}), "tests.luna16: key 'arm' is missing"),
        (put(kind="value"), "a claim of kind value is decided by margin"),
        (put_test(arm="p5"), "tests.gcnn-luna16: unknown arm 'p5'"),
        (put_test(arm="p4m-turbo"), "unknown arm 'p4m-turbo'"),
        (put_test(baseline="ResNet"), "unknown baseline 'ResNet'"),
        (put_test(metric="accuracy"), "unknown metric 'accuracy'"),
        (put_test(metric="sensitivity@7"), "unknown metric 'sensitivity@7'"),
        (put_test(metric="froc@0"), "unknown metric 'froc@0'"),
        (put_test(metric="malignant_in_top@0"), "unknown metric 'malignant_in_top@0'"),
        (put_test(metric="data_efficiency:frok"), "unknown metric 'data_efficiency:frok'"),
        (put_test(metric="data_efficiency:froc", baseline="gone"), "baseline is missing"),
        (put_test(metric="data_efficiency:auc", baseline="gone"), "baseline is missing"),
        (put_test(minus_n_train=300, baseline="gone"), "baseline is missing"),
        (put_test(n_train=30.0), "n_train must be int, got 30.0"),
        (put_test(n_train=True), "n_train must be int, got True"),
        (put_test(n_train=0), "n_train is 0"),
        (put_test(metric="data_efficiency:auc", minus_n_train=300), "data_efficiency:auc has no minus_n_train"),
        (put_test(line="gone"), "key 'line' is missing"),
        (put_test(line=float("nan")), "line must be float, got nan"),
        (put_test(claimed="greater"), "claimed is 'greater'"),
        (put_test(claimed="gone"), "either claimed .* or margin"),
        (put_test(margin=0.1), "either claimed .* or margin"),
        (put_test(claimed="gone", margin=0.0), "margin must be above 0"),
        (put_test(margin=0.1, claimed="gone"), "a claim of kind ordering is decided by claimed"),
        (put_test(seeds=3), "unknown key 'seeds'"),
        (lambda raw: raw["claims"].append(raw["claims"][0]), "claim a-claim: the id occurs twice"),
        (lambda raw: raw.update(extra=1), "the file: unknown key 'extra'"),
        (lambda raw: raw.update(claims={}), "claims must be a list"),
        (
            lambda raw: raw["papers"]["them"]["tables"]["Table 1"]["rows"].update({30: [0.1]}),
            "row 30 must be 2 numbers",
        ),
        (
            lambda raw: raw["claims"][0]["tests"].update({"gcnn luna": GOOD["claims"][0]["tests"]["gcnn-luna16"]}),
            "is no run",
        ),
    ],
)
def test_anything_odd_is_one_error_naming_claim_and_key(check, change, complaint):
    with pytest.raises(ClaimsError, match=complaint):
        check(change)


@pytest.mark.parametrize("metric", ["froc", "froc@1", "froc@0.125", "malignant_in_top@250", "data_efficiency:froc"])
def test_what_is_to_be_found_in_scans_can_be_claimed_about(check, metric):
    assert check(put_test(metric=metric))["a-claim"].tests[0].metric == metric


SPATIAL = (
    "Z3-tta-D4 Z3-tta-D4h D4-sham D4h-sham O-sham Z3-long Z3-wide D4h-compute Oh-invariant D4-shuffled volume nearest"
)


@pytest.mark.parametrize("arm", SPATIAL.split())
def test_arms_in_space_can_be_claimed_about(check, arm):
    assert check(put_test(arm=arm))["a-claim"].tests[0].arm == arm


NUMBERS = (
    "base base-compute base-mae base-centred base-dropout base-uniform base-compute-unseen hydra-2 hydra-8 hydra-4-p0 "
    "hydra-4-replacement hydra-4-fixed hydra-4-permuted hydra-4-black hydra-4-unseen mixup c-mixup mean histogram crop"
)


def number(**change):
    """A claim about a number instead of a label."""

    def apply(raw):
        test = {"arm": "hydra-4", "baseline": "base", "n_train": 12, "metric": "icc", "line": 0, "claimed": "above"}
        raw["claims"][0]["tests"]["hydranet-wmh2017"] = test | change

    return apply


def test_every_arm_of_the_experiment_can_be_claimed_about(check):
    from fewscans.experiments.numbered_arms import ARMS

    for arm in ARMS:
        check(number(arm=arm))


@pytest.mark.parametrize("arm", NUMBERS.split())
def test_arms_of_regression_can_be_claimed_about_where_they_are(check, arm):
    assert check(number(arm=arm))["a-claim"].tests[-1].arm == arm
    if arm != "histogram":
        with pytest.raises(ClaimsError, match=f"tests.gcnn-luna16: unknown arm '{arm}'; an arm is a group"):
            check(put_test(arm=arm))


def test_no_other_arm_can_be_claimed_about_than_those_that_can_be_trained(check):
    """Every stem with every ending: what is accepted is an arm, or one that is asked among black images as well."""
    from fewscans.experiments.numbered_arms import ARMS

    stems = {arm.rpartition("-")[0] or arm for arm in ARMS} | set(ARMS)
    endings = {"", *(f"-{end}" for arm in ARMS for end in arm.split("-")[1:]), "-black"}
    for arm in (stem + ending for stem in stems for ending in endings):
        if trained(arm):
            check(number(arm=arm))
        else:
            with pytest.raises(ClaimsError, match="unknown arm"):
                check(number(arm=arm))


def trained(arm):
    from fewscans.experiments.numbered_arms import ARMS

    plain = ARMS.get(arm.removesuffix("-black"))
    return arm in ARMS or plain is not None and plain.black


ABSENT = "p4m hydra-3 hydra base-fixed base-p0 mixup-compute centre hydra-2-mae base-unit hydra-2-black base-black"


@pytest.mark.parametrize("arm", ABSENT.split())
def test_an_arm_that_regression_has_not_is_an_error(check, arm):
    with pytest.raises(ClaimsError, match=f"tests.hydranet-wmh2017: unknown arm '{arm}'; an arm is base"):
        check(number(arm=arm))


@pytest.mark.parametrize("metric", ["icc", "icc:C", "mse", "mae", "data_efficiency:icc", "seed_spread:icc"])
def test_scores_of_regression_can_be_claimed_about(check, metric):
    assert check(number(metric=metric))["a-claim"].tests[-1].metric == metric


def test_one_scan_may_train_a_regressor_but_not_a_classifier(check):
    assert check(number(n_train=1))["a-claim"].tests[-1].n_train == 1
    with pytest.raises(ClaimsError, match="n_train is 0; a training set of hydranet holds 1 or more"):
        check(number(n_train=0))
    with pytest.raises(ClaimsError, match="n_train is 1; a training set of gcnn holds 2 or more"):
        check(put_test(n_train=1))


def test_a_spread_over_seeds_is_compared_with_anothers_and_says_so(check):
    test = check(number(metric="seed_spread:icc", line=1, claimed="below"))["a-claim"].tests[-1]
    assert test.measured() == "standard deviation of icc over seeds: hydra-4 / base at N = 12: below 1"
    with pytest.raises(ClaimsError, match="baseline is missing"):
        check(number(metric="seed_spread:icc", baseline=None))
    with pytest.raises(ClaimsError, match="unknown metric 'seed_spread:frock'"):
        check(number(metric="seed_spread:frock"))


def test_what_must_be_beaten_first_is_said_and_by_which_arms(check):
    test = check(number(beats="mean"))["a-claim"].tests[-1]
    assert test.learners == ("hydra-4", "base")
    assert test.measured() == "icc: hydra-4 - base at N = 12: above 0, if hydra-4 or base beats mean"
    named = check(number(beats="mean", beaten_by="hydra-4", baseline=None))["a-claim"].tests[-1]
    assert named.learners == ("hydra-4",) and named.measured().endswith("above 0, if hydra-4 beats mean")
    assert check(number())["a-claim"].tests[-1].learners == ()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (number(beats="median"), "unknown beats 'median'"),
        (number(beats="mean", beaten_by="hydra-5"), "unknown beaten_by 'hydra-5'"),
        (number(beaten_by="hydra-4"), "beaten_by is 'hydra-4', but beats does not name what"),
        (number(beats="base"), "beats is 'base', which the test compares"),
        (put_test(beats="histogram"), "tests.gcnn-luna16: beats is for hydranet, which tells numbers; gcnn does not"),
    ],
)
def test_what_cannot_be_beaten_is_an_error(check, change, complaint):
    with pytest.raises(ClaimsError, match=complaint):
        check(change)


def test_another_split_than_test_is_named(check):
    test = check(number(split="test-small-val"))["a-claim"].tests[-1]
    assert test.measured() == "icc: hydra-4 - base at N = 12 (test-small-val): above 0"


def test_a_key_given_twice_is_an_error_not_a_silent_choice(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("papers: {}\npapers: {}\nclaims: []\n")
    with pytest.raises(ClaimsError, match="'papers' occurs twice"):
        claims.load(path)


def test_broken_or_absent_files_are_named(tmp_path):
    (tmp_path / "claims.yaml").write_text("claims: [")
    with pytest.raises(ClaimsError, match="not valid YAML"):
        claims.load(tmp_path / "claims.yaml")
    with pytest.raises(ClaimsError, match="cannot be read"):
        claims.load(tmp_path / "none.yaml")


def test_an_absent_table_or_claim_names_what_there_is(check):
    with pytest.raises(ClaimsError, match="it holds them Table 1"):
        check().table("them", "Table 9")
    with pytest.raises(ClaimsError, match="no claim 'b'"):
        check()["b"]


# ---- the project's own claims

# a paper's tables by the sizes that it prints: of the scans of Hydranet's Table 1, six validated
PRINTED = {("dubost-2019-hydranet", 24): 30, ("dubost-2019-hydranet", 34): 40}


@pytest.fixture(scope="module")
def ours():
    return claims.load(paths.root() / "claims.yaml")


def test_paper_values_are_what_the_papers_tables_say(ours):
    """Every number beside a direct claim follows from the verified table that it cites."""
    checked = 0
    for claim in ours:
        if claim.paper_value is None:
            continue
        assert claim.direct, f"{claim.id}: a conceptual claim is about another task, so the paper has no number for it"
        test = claim.tests[0]
        cited = [t for t in ours.papers[claim.paper]["tables"] if re.match(rf"{re.escape(t)}\b", claim.where)]
        table = ours.table(claim.paper, max(cited, key=len))
        n = PRINTED.get((claim.paper, test.n_train), test.n_train)
        value = table.loc[n, test.arm]
        other = table.loc[n, test.baseline] if test.baseline in table else None
        if test.metric == "epochs_to_baseline" or test.metric.startswith("seed_spread:"):
            expected = value / other
        elif test.minus_n_train:
            expected = (
                value - other - table.loc[test.minus_n_train, test.arm] + table.loc[test.minus_n_train, test.baseline]
            )
        else:
            expected = value - other
        assert claim.paper_value == pytest.approx(expected, abs=6e-4), claim.id
        checked += 1
    assert checked > 30


def test_the_papers_own_numbers_satisfy_every_ordering(ours):
    """A claim that its own paper contradicts would have been put the wrong way round."""
    for claim in ours:
        if claim.paper_value is not None:
            test = claim.tests[0]
            assert claim.paper_value > test.line if test.claimed == "above" else claim.paper_value < test.line, claim.id


def test_tables_of_a_paper_agree_where_they_overlap(ours):
    one = ours.table("winkels-cohen-2019", "Table 2")
    for name in ("Table 3", "Table 4"):
        other = ours.table("winkels-cohen-2019", name)
        shared = [c for c in other if c in one]
        assert (other[shared] == one[shared]).all().all()


def test_conceptual_claims_name_one_group_in_advance(ours):
    """p4m throughout: with the best of several groups, a difference of 0 would look like a gain."""
    groups = {t.arm.split("-")[0] for c in ours if c.id.startswith("planar-") for t in c.tests}
    assert groups == {"p4m"}


def test_every_conceptual_claim_of_the_paper_is_tested_on_real_data_and_on_a_twin(ours):
    for claim in ours:
        if claim.id.startswith("planar-"):
            assert [t.real for t in claim.tests] == [True, False]
            real, twin = claim.tests
            assert vars(real) | {"run": ""} == vars(twin) | {"run": ""}, (
                f"{claim.id}: the twin answers another question"
            )


def test_the_idea_of_sums_is_tested_on_real_data_at_equal_compute_and_against_its_controls(ours):
    """Else a gain on hippocampi could be that of more updates, or of any other way to make a few scans more."""
    real = {t.baseline for c in ours for t in c.tests if t.run == "hydranet-msd-hippocampus" and t.arm == "hydra-4"}
    assert {"base", "base-compute", "hydra-4-fixed", "hydra-4-p0", "mixup", "c-mixup", "crop"} <= real


def test_every_arm_of_regression_that_is_claimed_about_can_be_trained(ours):
    named = {
        arm
        for claim in ours
        for t in claim.tests
        if t.experiment == "hydranet"
        for arm in (t.arm, t.baseline, t.beats, t.beaten_by)
        if arm is not None
    }
    assert "hydra-4-black" in named and "base-centred" in named
    assert [arm for arm in sorted(named) if not trained(arm)] == []


def test_what_networks_that_learned_nothing_would_pass_asks_first_whether_one_learned(ours):
    """Alike within a margin of ICC, no better by so much, steadier: all of it holds of constants."""
    asked = set()
    for claim in ours:
        for test in claim.tests:
            passed = test.margin is not None or test.claimed == "at most" or test.metric.startswith("seed_spread:")
            if test.experiment == "hydranet" and passed and test.metric != "mse":
                assert test.beats == "mean", claim.id
                asked.add(claim.id)
    assert {"permuted-sums-tell-nothing-n25", "fixed-sets-no-gain-n25", "inferences-agree-n25"} <= asked


def test_arms_of_runnable_claims_exist_in_the_grids(ours):
    from fewscans import experiments, params

    loaded = params.load(paths.root() / "params.yaml")
    for claim in ours:
        for test in claim.tests:
            if test.run not in loaded.grids:
                continue
            grid = loaded.grid(test.run, "paper")
            names = experiments.get(loaded.run(test.run).experiment).arm_names(grid)
            for arm in filter(None, (test.arm, test.baseline, test.beats, test.beaten_by)):
                assert arm in names, f"{claim.id}: {arm} is not in the paper grid of {test.run}"
                for n in filter(None, (test.n_train, test.minus_n_train)):
                    if test.run == "gcnn-luna16" and n >= 3000:
                        assert "more nodules than LUNA16 has" in claim.note or "too few nodules" in claim.note, claim.id
                        continue
                    if test.run == "hydranet-wmh2017-twin" and n > 24:  # at paper size, 30 of 60 are tested, 6 validate
                        assert n in loaded.grid(test.run, "long").arms[base_arm(arm)], claim.id  # of 120 scans
                        continue
                    assert n in grid.arms[base_arm(arm)], f"{claim.id}: {arm} is not trained at N = {n}"
