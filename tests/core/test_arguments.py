"""Words of the command line: paths and names arrive as they were written, and Hydra's flags may stand anywhere."""

import re
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from support.cli import mimii

from mimii_pl.__main__ import main, translate
from mimii_pl.core import arguments
from mimii_pl.core.arguments import PATH_OPTIONS, PLAIN_OPTIONS, quoted, read_override, read_text, spell_overrides
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.help import comments_of
from mimii_pl.core.run_dir import write_facts

AWKWARD = (
    *(
        "Ölpumpe",
        "风扇",
        "насос",
        "L\udcfcfter",
        "run=3",
        "a,b",
        "My Recordings (1)",
        "[1]",
        "{1}",
        "#1",
        "a;b",
        "it's",
        "'",
    ),
    *(
        'say "x"',
        '"',
        "a!b",
        "a&b",
        "end ",
        " start",
        "~x",
        "1e3",
        "true",
        "007",
        "1",
        "-1",
        "nan",
        "$y",
        "\\",
        "a\\",
        "a\\'b",
    ),
    *(
        "*",
        "a\\,b",
        "a b",
        ":",
        "a: b",
        "%20",
        "@",
        "choice(a,b)",
        "f(x",
        "[a",
        "{a:1",
        "a'b',c",
        "line\nbreak",
        "_x",
        "'a','b'",
    ),
)
EVERYTHING = "Ö 风=,()[1]{1}#;'\"!&$y\\*@: ~"


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """Call the command line and return the configurations that the command would be called with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mimii"])
    configurations: list[DictConfig] = []

    def keep(cfg: DictConfig) -> float:
        from hydra.core.hydra_config import HydraConfig

        with_hydra = OmegaConf.merge(OmegaConf.create({"hydra": HydraConfig.get()}), cfg)
        assert isinstance(with_hydra, DictConfig)
        configurations.append(with_hydra)
        return 0.0

    monkeypatch.setattr("mimii_pl.__main__._call", keep)

    def call(*words: str) -> list[DictConfig]:
        configurations.clear()
        main(words)
        GlobalHydra.instance().clear()
        return list(configurations)

    return call


@pytest.mark.parametrize("key", [*PATH_OPTIONS, *(key for key in PLAIN_OPTIONS if not key.endswith("."))])
def test_hydra_reads_the_text_that_was_written(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no file has one of the names
    for text in AWKWARD:
        (item,) = spell_overrides([f"{key}={text}"])
        assert OverridesParser.create().parse_override(item).value() == text
        assert spell_overrides([item]) == [item]  # a process that is started by the same words reads the same
        assert spell_overrides([f"++{key}={text}"]) == [f"++{item}"]


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("score", ("input", "run", "output", "machine_id")),
        ("train", ("dataset.root", "dataset.cache_dir", "hydra.run.dir", "hydra.sweep.dir")),
        ("listen", ("output", "dataset.root", "dataset.cache_dir")),
        ("check", ("output", "table", "dataset.root", "dataset.exclude")),
        ("download", ("dataset.root",)),
        ("rescore", ("run", "hydra.run.dir")),
        ("decide", ("run",)),
        ("record", ("run", "tracking_uri")),
        ("register", ("run", "name", "alias")),
        ("compare", ("output", "experiment_name")),
    ],
)
def test_values_arrive_unchanged_in_every_command(composed, command, keys):
    (cfg,) = composed(command, *(f"{key}={EVERYTHING}" for key in keys))
    for key in keys:
        assert OmegaConf.select(cfg, key) == EVERYTHING, key


@pytest.mark.parametrize("text", ["1e3", "007", "true", "1", "null"])
def test_text_stays_text(composed, text):
    (cfg,) = composed("score", *(f"{key}={text}" for key in ("input", "run", "machine_id")))
    assert (cfg.input, cfg.run, cfg.machine_id) == (text, text, None if text == "null" else text)


def test_values_of_a_data_set_arrive_unchanged(composed):
    words = [f"dataset.sounds={EVERYTHING}", f"dataset.columns.path={EVERYTHING}", "dataset.columns.id=1"]
    (cfg,) = composed("train", "dataset=table", *words)
    assert (cfg.dataset.sounds, cfg.dataset.columns.path, cfg.dataset.columns.id) == (EVERYTHING, EVERYTHING, "1")
    (cfg,) = composed("train", "dataset=folder", "dataset.anomaly=[flügel,1e3,a b]", "dataset.normal=[007]")
    assert (cfg.dataset.anomaly, cfg.dataset.normal) == (["flügel", "1e3", "a b"], ["007"])


def test_every_option_that_is_a_path_is_known():
    """`conf/` says of an option whose value is a path: folder, directory, CSV or page of ..."""
    begin = re.compile(r"(?:the |a )?(?:\w+ )?(?:folder|directory|page|CSV|file)\b|.* its directory,")
    made = {"run_dir", "choices", "defaults.experiment", "defaults.hydra", "sweep", "dataset.keep_archives"}
    files = [(CONF / "train.yaml", ""), *((path, "") for path in CONF.glob("command/*.yaml"))]
    files += [(path, group) for group in ("dataset", "model") for path in CONF.glob(f"{group}/*.yaml")]
    comments = {key: text for path, prefix in files for key, text in comments_of(path, prefix).items()}
    paths = {key for key, text in comments.items() if begin.match(text)} - made
    assert paths == {key for key in PATH_OPTIONS if not key.startswith("hydra.")}


def test_null_is_none_only_where_a_command_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    none = ["output=null", "machine_id=null", "resume=null", "dataset.sounds=null", "only.machine=null", "alias=null"]
    assert spell_overrides(none) == none
    texts = ["input=null", "run=null", "dataset.root=null", "machine=null"]
    assert spell_overrides(texts) == [item.replace("null", "'null'") for item in texts]
    Path("null").mkdir()
    assert spell_overrides(["output=null", "machine_id=null"]) == ["output='null'", "machine_id=null"]


def test_home_is_expanded_and_quotes_keep_what_they_hold(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ö")
    items = ["input=~/x", "input='~/x'", 'input="a,b"', "run=~/a b", "machine_id=~/x"]
    assert spell_overrides(items) == [
        "input='/home/ö/x'",
        "input='~/x'",
        'input="a,b"',
        "run='/home/ö/a b'",
        "machine_id='~/x'",
    ]


def test_interpolations_are_resolved(composed, monkeypatch):
    monkeypatch.setenv("PLACE", "/Ö (1)")
    for text in ("${oc.env:PLACE}/x", "${oc.env:PLACE}/x (1)", "'${oc.env:PLACE}/x'"):
        (cfg,) = composed("train", f"dataset.root={text}")
        assert cfg.dataset.root == "/Ö (1)" + text.strip("'").removeprefix("${oc.env:PLACE}")


@pytest.mark.parametrize("name", ["a${x}b", "${x}", "a\\\\${x", "${oc.env:HOME}"])
def test_a_path_that_exists_is_no_interpolation(composed, tmp_path, name):
    Path(name).mkdir(parents=True)
    (cfg,) = composed("score", f"input={name}", f"run={tmp_path / name}", f"output={name}/new.csv")
    assert (cfg.input, cfg.run, cfg.output) == (name, str(tmp_path / name), f"{name}/new.csv")
    for item in spell_overrides([f"input={name}", f"resume={name}"]):
        assert spell_overrides([item]) == [item]
        assert read_text(item.partition("=")[2]) == name


@pytest.mark.parametrize(
    "command", ["score input=a", "decide", "record", "train dataset=folder model=level logger=none"]
)
def test_an_interpolation_of_nothing_is_named_in_one_line(command, tmp_path):
    key = "dataset.root" if command.startswith("train") else "run"
    done = mimii(*command.split(), f"{key}=b${{y}}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"error: {key}=b${{y}}: Interpolation key 'y' not found. A path with ${{...}} in its name has to exist"
    ]


def test_what_cannot_be_stored_is_named_in_one_line(tmp_path):
    (tmp_path / "b${y}").mkdir()
    (tmp_path / "b${y}" / "0.wav").touch()
    words = ["train", "dataset=folder", "model=level", "logger=none"]
    for item, message in (
        ("dataset.root=b${y}", "dataset.root=b${y}: not loaded: an interpolation is no plain value: rename a file"),
        ("hydra.run.dir=b${y}/run", "hydra.run.dir: Interpolation key 'y' not found"),
    ):
        done = mimii(*words, item, cwd=tmp_path)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert message in line


def test_an_interpolation_of_nothing_gets_one_line(composed, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "dataset.root=${y"])
    assert str(end.value.code).startswith("error: dataset.root: ")
    assert "\n" not in str(end.value.code)


@pytest.mark.parametrize("flag", ["-m", "--multirun", "sweep=grid", "best=x"])
def test_commas_separate_in_sweeps_unless_a_path_has_them(flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c,d").mkdir()
    items = [
        "dataset.root=ä,b (1),1e3",
        "dataset.cache_dir=c,d",
        "hydra.sweep.dir=x,y",
        "machine=Öl,7",
        "model=vae,idnn",
    ]
    items += ["machine_id=1,'2,3'", "run=choice(a,b)", "resume=a,b"]
    spelled = ["dataset.root='ä','b (1)','1e3'", "dataset.cache_dir='c,d'", "hydra.sweep.dir='x,y'", "machine='Öl','7'"]
    spelled += ["model=vae,idnn", "machine_id='1','2,3'", "run=choice(a,b)", "resume='a,b'"]
    assert spell_overrides(items, sweeps=True) == spelled
    if flag.startswith("-") or flag == "sweep=grid":
        _, words, _ = translate("train", [*items[:-1], flag])
        assert [word for word in words if not word.startswith(("-", "sweep"))] == spelled[:-1]


def test_a_sweep_makes_a_run_of_every_path(composed):
    runs = composed("download", "dataset.root=ä=1,b (1)", "machine=Öl,7", "-m", "hydra.sweep.dir=s (1),ö")
    pairs = [(cfg.dataset.root, cfg.machine.name) for cfg in runs]
    assert pairs == [("ä=1", "Öl"), ("ä=1", "7"), ("b (1)", "Öl"), ("b (1)", "7")]
    assert {Path(cfg.hydra.runtime.output_dir).name for cfg in runs} == {"s (1),ö"}


def test_any_text_names_a_machine_type(composed):
    names = ("Lüfter", "7", "1e3", "null", "true", "007", "v1.2", "Pumpe (1)", "a=b", "it's", "~fan", 'say "x"', "1.0")
    for name in names:
        assert compose([f"machine={name}"], "command/download").machine.name == name
    (cfg,) = composed("compare", "machine=[Öl,7]")
    assert cfg.only.machine == ["Öl", "7"]


def test_a_value_that_can_only_be_text_is_text():
    items = ["x=Öl", "x=a=b", "+x=it's", "x=[ä,b c,1]", "x=ä,1", "hydra.job.name=Öl 3"]
    assert spell_overrides(items) == [
        "x='Öl'",
        "x='a=b'",
        "+x='it\\'s'",
        "x=['ä',b c,1]",
        "x='ä',1",
        "hydra.job.name='Öl 3'",
    ]
    plain = [
        "model.lr=1e-3",
        "model.hidden=[64,[32]]",
        "x={a: 1}",
        "model.lr=tag(log, interval(1e-4, 1e-2))",
        "~logger",
        "x=",
    ]
    assert spell_overrides(plain) == plain


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("x=Pumpe (1)", "quote it: \"x='Pumpe (1)'\""),
        ("x=[a", "quote it: \"x='[a'\""),
        ("x={a: ö}", "quote it: \"x='{a: ö}'\""),
        ('x="a', "quote it: 'x='\\''\"a'\\'''"),
        ("rün=1", "rün is no name of an option"),
        ("seed", "write seed=<value>"),
        ("", "write key=<value>"),
        ("input=", "input=: the path is empty"),
        ("resume=", "resume=: the path is empty"),
    ],
)
def test_other_values_get_one_line_with_the_option_and_the_way_out(item, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        spell_overrides([item])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "item",
    ["model=null", "model=", "machine=", "logger=null", "model=[vae,idnn]", "machine=[fan,pump]", "hydra/launcher="],
)
def test_a_group_takes_one_choice(item):
    for words in ([item], [item, "--help"]):
        with pytest.raises((InputError, SystemExit)) as error:
            main(["train", *words])
        assert f"{item}: " in str(error.value)
    translate("train", ["augmentation=[noise,mixup]"])


def test_the_python_interface_takes_the_same_spelling():
    assert compose([f"dataset.root={EVERYTHING}", "machine=Öl"]).dataset.root == EVERYTHING


@pytest.mark.parametrize("text", [*AWKWARD, EVERYTHING, "null", "${a}"])
def test_quoted_text_is_read_back(text):
    assert read_text(quoted(text)) == text
    assert read_override(f"a.b={quoted(text)}") == ("a.b", text)


def test_an_override_of_a_stored_configuration_has_one_value():
    assert read_override("a.b=[1,x]") == ("a.b", [1, "x"])
    for item in ("a=1,2", "~a", "a"):
        with pytest.raises(InputError, match="with one value"):
            read_override(item)


# --- resume -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [EVERYTHING, "rün=1", "run=1", "1e3", "null", "a,b", "end ", "'q'", "~x"])
def test_every_run_directory_can_be_resumed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    write_facts(tmp_path / name, status="running")
    place = quoted(name)
    spellings = [("train", f"resume={name}"), ("train", f"resume={place}"), ("resume", f"run={name}")]
    if name != "run=1":  # run=1 is the option
        spellings.append(("resume", name))
    spellings += [("resume", f"./{name}"), ("train", f"resume={tmp_path / name}"), ("resume", str(tmp_path / name))]
    for command, word in spellings:
        _, words, _ = translate(command, ["trainer.max_epochs=5", word])
        values = dict(read_override(item) for item in words)
        assert values.keys() == {"resume", "hydra.run.dir", "trainer.max_epochs"}
        for key in ("resume", "hydra.run.dir"):
            assert (tmp_path / values[key]).samefile(tmp_path / name), (word, words)


def test_the_newest_run_can_be_resumed_whatever_its_name(tmp_path, monkeypatch):
    run_dir = Path("outputs/day") / EVERYTHING
    (tmp_path / run_dir).mkdir(parents=True)
    write_facts(tmp_path / run_dir, status="running")
    monkeypatch.chdir(tmp_path)
    for command, words in (("resume", []), ("resume", ["latest"]), ("train", ["resume=latest"])):
        assert read_override(translate(command, words)[1][-1]) == ("hydra.run.dir", str(run_dir))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rün=1", "rün is no name of an option"),
        ("./rün=1", "rün=1 is not a run directory"),
        ("run=null", "null is not a run directory"),
        ("null", "null is not a run directory"),
        ("a b", "a b: give one run"),
        ("run=", "the path is empty"),
    ],
)
def test_resume_never_takes_another_run_than_the_one_that_is_named(words, message, tmp_path, monkeypatch):
    run_dir = tmp_path / "outputs/day/run"
    run_dir.mkdir(parents=True)
    write_facts(run_dir, status="running")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        translate("resume", words.split(" "))


def test_a_folder_named_like_a_group_is_no_launcher(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("mimii_pl.sweep.retrain.retraining", lambda words: (asked.extend(words) or words, tmp_path))
    translate("retrain", ["hydra/launcher=joblib", "sweep=s (1),2"])
    assert asked == ["best='s (1),2'", "hydra/launcher=joblib"]


# --- flags ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("model=vae --cfg job backend=knn", ["--cfg=job"]),
        ("model=vae -c job --package model backend=knn --resolve", ["--cfg=job", "--resolve", "--package=model"]),
        ("--cfg=job model=vae -p model backend=knn", ["--cfg=job", "--package=model"]),
        ("model=vae -m backend=knn", ["-m"]),
        ("model=vae backend=knn --multirun", ["-m"]),
        ("model=vae backend=knn --info", ["--info=all"]),
        ("model=vae -i backend=knn", ["--info=all"]),
        ("model=vae --info defaults backend=knn", ["--info=defaults"]),
        ("model=vae --config-dir a=b backend=knn", ["--config-dir=a=b"]),
        ("model=vae -cd ~/x backend=knn", ["--config-dir={home}/x"]),
    ],
)
def test_flags_may_stand_anywhere(words, first):
    home = str(Path.home())
    _, translated, _ = translate("train", words.split())
    assert translated == [*(flag.format(home=home) for flag in first), "model=vae", "backend=knn"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-m model=vae,idnn --cfg job", "--cfg"),
        ("model=vae --cfg job backend=knn -m", "without -m"),
        ("--run -m", "--run and -m: give one of them"),
        ("--resolve model=vae", "give it with --cfg"),
        ("model=vae --cfg nothing", "invalid choice: 'nothing'"),
        ("model=vae --cfg", "expected one argument"),
        ("model=vae --colour backend=knn", "--colour: no such flag"),
        ("--shell-completion", "add install=bash"),
    ],
)
def test_wrong_flags_get_one_line(words, message):
    with pytest.raises(SystemExit) as end:
        main(["train", *words.split()])
    assert message in str(end.value.code)
    assert "\n" not in str(end.value.code)


@pytest.mark.parametrize("command", ["train", "score", "compare", "record"])
def test_the_configuration_is_shown_with_flags_behind_options(command, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mimii"])
    key = {"score": "input", "listen": "output", "compare": "output", "train": "dataset.root"}.get(command, "run")
    main([command, f"{key}=Ö (1)", "--cfg", "job", "--resolve"])
    assert f"{key.rpartition('.')[2]}: Ö (1)\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["score", "resume"])
def test_the_help_of_hydra_needs_nothing_else(command, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mimii"])
    with pytest.raises(SystemExit) as end:
        main([command, "seed=1", "--hydra-help"])
    assert not end.value.code
    assert "--multirun" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["resume", "retrain"])
def test_help_of_an_alias_takes_the_options_of_train(command, capsys):
    main([command, "trainer.max_epochs=5", "--help"])
    assert f"mimii {command}" in capsys.readouterr().out


def test_a_configuration_folder_may_have_any_name(tmp_path, composed):
    folder = tmp_path / "it's (1)" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [vae, _self_]\nlr: 0.5\n")
    (cfg,) = composed("train", "model=mine", "--config-dir", str(folder.parent), "seed=3")
    assert (cfg.model.lr, cfg.seed) == (0.5, 3)
    assert compose(["model=mine"], config_dir=str(folder.parent)).model.lr == 0.5


def test_one_table_holds_each_option_once():
    tables = (arguments.PATH_OPTIONS, arguments.PLAIN_OPTIONS, arguments.WORD_OPTIONS)
    assert len({key for table in tables for key in table}) == sum(map(len, tables))
    assert set(arguments.NULL_IS_NONE) <= {key for table in tables for key in table}
