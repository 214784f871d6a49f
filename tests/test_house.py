"""The rules of the house: what keeps the project readable is checked like any other promise."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from nlp_transfer import methods, metrics, tasks

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nlp_transfer"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    ("cli",),
    ("demo", "catalogue", "answering", "launching"),
    ("comparison",),
    ("exporting",),
    ("experiment", "predicting", "judging"),
    ("runs", "folder", "progress"),
    ("pages",),
    ("report", "artefacts", "standing"),
    ("recipe", "evaluation"),
    ("data",),
    ("tasks", "methods"),
    ("upper", "metrics"),
    ("standin", "tuners", "questions", "first_token", "low_rank"),
    ("heads", "adapters", "texts", "tagging"),
    ("labels", "long_texts", "temperature", "thresholds", "training", "backbone"),
    ("remote_code", "aliases"),
    ("trust",),
    ("scratch",),
    (
        *("arguments", "models", "environment", "figures", "flags", "samples", "members", "quiet", "rows"),
        *("architectures", "configurations", "written"),
    ),
    ("errors", "startup"),
)
"""From the top down: a layer imports those below it, and members of one layer never import each other."""


def room(name: str) -> str:
    """The part of the package that a dotted module name belongs to; the package itself is ''."""
    return [*name.split("."), ""][1]


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path) -> set[str]:
    """The modules of ours that a file imports, inside functions too, but not for type checking alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = (ROOT / f"{name.replace('.', '/')}.py").exists() or (ROOT / name.replace(".", "/")).is_dir()
                found.add(name if is_module else str(node.module))
    return {name for name in found if name.split(".")[0] == "nlp_transfer"}


def test_there_is_a_house() -> None:
    assert len(FILES) > 30


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_no_file_is_over_300_lines(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.py")), ids=lambda file: file.name)
def test_no_recipe_is_over_40_lines(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_layers_import_downwards_only(file: Path) -> None:
    depth = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    here = room(module_name(file))
    if not here:
        return  # the package itself names its public parts, and loads them lazily
    assert here in depth, f"{here} stands in no layer"
    for name in imports(file):
        there = room(name)
        if there and there != here:
            assert depth[there] > depth[here], f"{module_name(file)} imports {name}"


def test_no_import_cycle() -> None:
    graph = {module_name(file): imports(file) for file in FILES if file != PACKAGE / "__init__.py"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join([*path, name])}"
        if name in done or name not in graph:
            return
        for other in graph[name] - {name}:
            visit(other, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(graph)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_names_say_what_is_inside(file: Path) -> None:
    assert not re.search(r"util|helper|manager|misc|common", file.stem)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_every_module_says_its_responsibility(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.split("\n\n")[0].endswith(".")


def test_nothing_reads_or_writes_pickles() -> None:
    forbidden = re.compile(
        r"torch\.load\(|torch\.save\(|\bpickle\b(?!s)|\bjoblib\b|yaml\.load\(|yaml\.unsafe|save_state\("
    )
    for file in FILES:
        code = "\n".join(ast.unparse(node) for node in ast.parse(file.read_text(encoding="utf-8")).body)
        without_words = re.sub(r"(\"\"\"|''').*?\1|'[^'\n]*'|\"[^\"\n]*\"", "''", code, flags=re.DOTALL)
        assert not forbidden.search(without_words), file


def test_members_are_found_by_file_name_and_named_nowhere_else() -> None:
    for package, names in ((tasks, tasks.names()), (methods, methods.names()), (metrics, metrics.names())):
        assert names
        text = Path(str(package.__file__)).read_text(encoding="utf-8")
        code = ast.parse(text)
        imported = {ast.unparse(node) for node in ast.walk(code) if isinstance(node, ast.Import | ast.ImportFrom)}
        for name in names:
            assert not any(f"{package.__name__}.{name}" in line for line in imported)


def test_the_version_is_said_once_and_the_same() -> None:
    import nlp_transfer

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == nlp_transfer.__version__


def test_every_dependency_has_a_bound_or_a_reason_to_have_none() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        assert ">=" in requirement, requirement


def test_samples_are_ours_and_balanced_and_do_not_leak() -> None:
    from nlp_transfer import samples
    from nlp_transfer.data.files import read

    least = {"classification": 400, "sentiment": 400, "sentence_pairs": 150, "multi_label": 200, "regression": 200}
    assert set(samples.names()) == {*least, "qa", "entities"}  # these two have tests of their own
    for name in least:
        splits = {path.stem: read(path) for path in samples.path(name).glob("*.csv")}
        assert splits.keys() == {"train", "validation", "test"}
        assert sum(len(table) for table in splits.values()) >= least[name]
        bags = {
            split: [
                frozenset(re.findall(r"\w+", " ".join(texts).lower()))
                for texts in zip(*list(table.columns.values())[:-1], strict=True)
            ]
            for split, table in splits.items()
        }
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            overlap = max(len(a & b) / len(a | b) for a in bags[one] for b in bags[other])
            assert overlap <= 0.6, (name, one, other)
        *_, labels = splits["train"].columns.values()
        if name in ("multi_label", "regression"):
            continue
        counts = [labels.count(label) for label in set(labels)]
        assert max(counts) <= 1.2 * min(counts)


def test_the_questions_of_the_sample_are_ours_and_do_not_leak() -> None:
    from nlp_transfer import samples
    from nlp_transfer.data.files import read

    splits = {path.stem: read(path).columns for path in samples.path("qa").glob("*.json")}
    assert splits.keys() == {"train", "validation", "test"}
    contexts = {name: set(columns["context"]) for name, columns in splits.items()}
    assert sum(map(len, contexts.values())) == len(set.union(*contexts.values())) == 60
    answers = [answers["text"] for columns in splits.values() for answers in columns["answers"]]
    assert len(answers) == 180
    assert sum(not texts for texts in answers) == 45


def test_the_entities_of_the_sample_are_ours_and_balanced_and_do_not_leak() -> None:
    from nlp_transfer import samples
    from nlp_transfer.data.files import read

    splits = {path.stem: read(path).columns for path in samples.path("entities").glob("*.jsonl")}
    assert splits.keys() == {"train", "validation", "test"}
    texts = [text for columns in splits.values() for text in columns["text"]]
    assert len(texts) == len(set(texts)) == 200
    named = {}
    for split, columns in splits.items():
        spans = [(text, span) for text, found in zip(*columns.values(), strict=True) for span in found]
        assert all(text[span["start"] : span["end"]].strip() for text, span in spans)
        counts = Counter(span["label"] for _, span in spans)
        assert counts.keys() == {"PERSON", "PLACE", "ORGANISATION", "DATE"}
        assert max(counts.values()) <= 1.3 * min(counts.values())
        # the same day may come again, a name may not
        named[split] = {text[span["start"] : span["end"]] for text, span in spans if span["label"] != "DATE"}
    assert not named["train"] & named["validation"]
    assert not named["test"] & (named["train"] | named["validation"])
