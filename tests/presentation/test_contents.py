"""Which tables and figures a study shows."""

import pytest

from modeledit.presentation.contents import Contents
from tests.study.test_config import MODEL, block, changed
from tests.study.test_inventory import study


def contents(*methods, **parts):
    """The contents of a study with these methods on eligible requests."""
    config = changed(
        runs=[block(requests="eligible", methods=list(methods))],
        eligible={"editing_neighbors": 4},
        **parts,
    )
    return Contents(study(config))


ITERATIVE = ["iterative", "iterative_all", "stopping", "stopping_all"]


@pytest.mark.parametrize(
    ("methods", "tables"),
    [
        (["MEMIT"], ITERATIVE),
        (["NA_MEMIT"], ["neighbor", "neighbor_all"]),
        (["MEMIT", "NAP_MEMIT"], [*ITERATIVE, "neighbor", "neighbor_all", "prefix", "prefix_all"]),
        (["NA4_MEMIT"], ["neighbor_count"]),
        (["MEMIT", "SPREAD_MEMIT"], [*ITERATIVE, "stages"]),
    ],
)
def test_tables_are_those_that_the_methods_fill(methods, tables):
    names = [f"geography-eligible.{table}" for table in tables]
    assert contents(*methods).tables() == [*names, "hardware"]


def test_the_hardware_table_needs_measurements():
    config = changed(partial=True, runs=[block()])
    assert "hardware" not in Contents(study(config)).tables()
    there = ["results/demo/hardware.csv"]
    assert "hardware" in Contents(study(config, there)).tables()


@pytest.mark.parametrize("batches", [None, {"size": 2, "count": 2}])
def test_null_spaces_are_shown_of_models_that_are_written_into_them(batches):
    """Runs or sequences of batches; of any method of the family."""
    more = {} if batches is None else {"batches": batches}
    config = changed(runs=[block(), block(methods=["FRESH_AlphaEdit"], **more)])
    name = f"{MODEL}.null_space"
    found = Contents(study(config))
    assert found.tables().count(name) == found.figures().count(name) == 1
    assert found.small(MODEL) == ["SmolLM2-135M"]
    for names in (contents("MEMIT").tables(), contents("MEMIT").figures()):
        assert name not in names


def test_null_spaces_of_a_partial_study_are_shown_if_they_are_there():
    config = changed(partial=True, runs=[block(methods=["AlphaEdit"])])
    there = [f"results/demo/statistics/{MODEL}/null_spaces.{form}" for form in ("csv", "parquet")]
    assert f"{MODEL}.null_space" in Contents(study(config, there)).tables()
    assert f"{MODEL}.null_space" not in Contents(study(config, there[:1])).tables()


def test_figures_are_of_methods_algorithms_and_studies():
    at = f"geography-eligible.{MODEL}"
    assert contents("MEMIT", "NA2_MEMIT", "SPREAD_MEMIT").figures() == [
        f"{at}.trajectories",
        "algorithms",
        *(
            f"{at}.{method}.{kind}"
            for method in ("MEMIT", "NA2_MEMIT", "SPREAD_MEMIT")
            for kind in ("perplexity_stages", "underedit")
        ),
        f"{at}.MEMIT.qualitative",
        f"{at}.MEMIT.neighbor_count",
        f"{at}.MEMIT.stages",
    ]
    assert contents("SPREAD_MEMIT").figures()[-1] == f"{at}.MEMIT.stages"
    assert not any("qualitative" in name for name in contents("SPREAD_MEMIT").figures())


def test_a_study_is_its_figures_and_its_tables():
    found = contents("MEMIT", "SPREAD_PMET", "NA2_MEMIT")
    assert found.study("stages") == [
        f"results/demo/figures/geography-eligible.{MODEL}.PMET.stages.png",
        "results/demo/tables/geography-eligible.stages.tex",
    ]
    assert contents("MEMIT").study("stages") == []


def test_the_panel_sets_the_neighbor_beside_the_plain_algorithm():
    place = ("geography-eligible", MODEL, "MEMIT")
    both = contents("MEMIT", "NAP_MEMIT", stop={"iterations": 1, "extended": 2})
    assert both.panel_neighbor(*place) == "NAP_MEMIT"
    assert contents("MEMIT", "NAP_MEMIT", "NA_MEMIT").panel_neighbor(*place) == "NA_MEMIT"
    run = "results/demo/geography-eligible/" + MODEL + "/{}/trial1/iter{}/scores.parquet"
    assert both.panel_scores(*place) == {
        "plain": [run.format("MEMIT", k) for k in (1, 2)],
        "neighbor": [run.format("NAP_MEMIT", k) for k in (1, 2)],
    }
    alone = contents("PMET").panel_scores("geography-eligible", MODEL, "PMET")
    assert alone.keys() == {"plain"}


def test_rows_of_a_table_are_every_model_and_method_once():
    assert contents("MEMIT", "NA_MEMIT").rows("geography-eligible") == [
        (MODEL, "MEMIT"),
        (MODEL, "NA_MEMIT"),
    ]
    assert contents("MEMIT").rows("geography") == []


SEQUENCE = {"batches": {"size": 2, "count": 3}}


def test_sequences_have_a_table_of_each_dataset_and_a_figure_of_each_model_and_size():
    both = [block() | SEQUENCE, block(methods=["AlphaEdit"]) | SEQUENCE]
    other = [block(methods=["MEMIT"]) | {"batches": {"size": 3, "count": 1}}]
    found = Contents(study(changed(runs=[block(), *both, *other])))
    null_spaces = f"{MODEL}.null_space"  # of AlphaEdit
    assert found.tables()[-3:] == ["geography.sequence", null_spaces, "hardware"]
    assert found.figures()[-2:] == [
        f"geography.{MODEL}.batches_of_{size}.sequence" for size in (2, 3)
    ]
    alone = Contents(study(changed(runs=both)))
    assert alone.tables() == ["geography.sequence", null_spaces]
    figure = f"geography.{MODEL}.batches_of_2.sequence"
    assert alone.figures() == ["algorithms", null_spaces, figure]
    assert not any("sequence" in name for name in contents("MEMIT").tables())


def test_behavior_is_shown_of_what_was_observed():
    name = "geography-eligible.behavior"
    found = contents("MEMIT", "NA_MEMIT", evaluation={"drift": True})
    assert found.tables().count(name) == 1
    assert found.figures().count(f"geography-eligible.{MODEL}.behavior") == 1
    for names in (contents("MEMIT").tables(), contents("MEMIT").figures()):
        assert not [name for name in names if name.endswith(".behavior")]


def test_behavior_of_a_partial_study_is_shown_if_it_is_there():
    config = changed(partial=True, runs=[block()], evaluation={"drift": True})
    run = f"results/demo/geography/{MODEL}/MEMIT/trial1"
    values = [f"{run}/{file}" for file in ("metrics.csv", "behavior.parquet")]
    assert Contents(study(config, values)).behavior() == [f"geography.{MODEL}.behavior"]
    assert Contents(study(config, values[:1])).behavior() == []
