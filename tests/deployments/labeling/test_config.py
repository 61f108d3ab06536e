"""The closed set of settings: preset, file, options, and what is said about a wrong one."""

from dataclasses import asdict

import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.language.shown import Shown
from alignhmr.core.scoring.preference import MiningRule
from alignhmr.deployments.labeling.config import load_config
from alignhmr.deployments.presets import preset_names


def test_presets_are_whole_and_hold_the_default_rule():
    for name in preset_names("alignhmr.deployments.labeling"):
        assert asdict(load_config(name).pairs.rule()) == asdict(MiningRule()), name


def test_file_over_preset_and_options_over_both(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("hypotheses: 8\nseed: 3\ncaptions: {max_tokens: 99}\n")
    config = load_config("laptop", file, {"seed": 4, "captions.engine": "vllm:/models/x", "detector": None})
    assert (config.hypotheses, config.seed, config.detector) == (8, 4, "blazepose")
    assert (config.captions.max_tokens, config.captions.engine) == (99, "vllm:/models/x")


def test_the_digest_follows_what_the_rows_say_only():
    base = load_config().digest()
    assert load_config(overrides={"resources.recover.workers": 7, "device": "cpu"}).digest() == base
    assert load_config(overrides={"seed": 1}).digest() != base
    assert load_config(overrides={"pairs.margin": 0.5}).digest() != base
    assert load_config(overrides={"refine": "keypoints"}).digest() != base


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hypothesis": 3}, "no key 'hypothesis'; did you mean 'hypotheses'?"),
        (
            {"resources.recover.wokers": 3},
            "no key 'resources.recover.wokers'; did you mean 'resources.recover.workers'?",
        ),
        ({"seed": -1}, "seed is -1"),
        ({"captions.engine": "gpt"}, "captions.engine is 'gpt'"),
        ({"hypotheses": "many"}, "hypotheses is 'many'"),
        (
            {"resources.people.workers": 4, "resources.people.max_workers": 2},
            "max_workers is 2, less than workers 4",
        ),
        ({"fetch.allow_networks": ["10.0.0.0/99"]}, "fetch.allow_networks.0 is '10.0.0.0/99'"),
        ({"refine": "captions"}, "captions of the pose say nothing that the pose doesn't"),
        ({"refine": "yes"}, "refine is 'yes'"),
        ({"prices.gpu_hour": -1}, "prices.gpu_hour is -1"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(overrides, message):
    with pytest.raises(InputError) as caught:
        load_config(overrides=overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"), [("- 1\n", "holds a list"), ("a: [", "isn't YAML"), (None, "can't be read")]
)
def test_a_file_that_is_no_configuration(tmp_path, text, match):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=match):
        load_config(path=file)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(InputError, match="choose one of cluster, laptop, single-gpu"):
        load_config("phone")


def test_the_web_is_off_limits_by_default_and_its_settings_reach_the_fetcher():
    assert load_config().fetch.fetcher() is None
    over = {"fetch.enabled": True, "fetch.allow_networks": ["10.1.0.0/16"], "fetch.opt_out": ["NoAI"]}
    fetcher = load_config(overrides=over).fetch.fetcher()
    assert fetcher is not None
    assert (fetcher.allow_networks, fetcher.opt_out, fetcher.retries) == (("10.1.0.0/16",), ("noai",), 2)


def test_larger_presets_hold_pools_that_grow():
    assert preset_names("alignhmr.deployments.labeling") == ["cluster", "laptop", "single-gpu"]
    for name in ("cluster", "single-gpu"):
        use = load_config(name).resources
        for stage in (use.people, use.recover, use.score):
            assert stage.most > stage.workers, name


@pytest.mark.parametrize(
    ("drawn", "learned", "shown"),
    [
        ("auto", None, Shown(False, 300)),
        ("auto", Shown(True, 112), Shown(True, 112)),
        ("auto", Shown(False, 224), Shown(False, 224)),
        (True, None, Shown(True, 300)),
        (True, Shown(False, 112), Shown(True, 300)),
        (False, Shown(True, 112), Shown(False, 300)),
    ],
)
def test_people_are_shown_as_was_learned_unless_something_else_is_said(drawn, learned, shown):
    captions = load_config(overrides={"captions.drawn": drawn, "captions.max_side_px": 300}).captions
    assert captions.shown(learned) == shown


def test_how_people_are_shown_is_auto_or_yes_or_no():
    assert all(
        load_config(name).captions.drawn == "auto" for name in preset_names("alignhmr.deployments.labeling")
    )
    with pytest.raises(InputError, match=r"captions\.drawn.* is 'perhaps'"):
        load_config(overrides={"captions.drawn": "perhaps"})
