"""The words of the field, one for each thing, and sentences whose subject has a name."""

from typing import Final

from tests.architecture import words
from tests.servers import ROOT

# A reader with English as a second language has to find out who that is: the client, the member,
# the server, the caller.
UNNAMED: Final = {"somebody", "nobody", "anybody", "everybody", "whoever", "whom"}
# Names that the code once had for what the field calls an adapter or a transport, admission,
# catch-up, history, batching, a slow consumer, a queue, inbound messages and their limits, leave
# work, a leave, a refusal and a heartbeat.
OLD_NAMES: Final = {
    "door", "doors", "doorman", "doorkeeper", "gate", "past", "gathering", "gatherings",
    "congestion", "backlog", "inbox", "intake", "farewell", "farewells", "strike", "strikes",
    "nonsense", "pulse", "framewalk", "speaker", "departure", "departures",
}  # fmt: skip
# Those of them that comments and docstrings may not use either. The others are common words.
OLD_WORDS: Final = {
    "door", "doors", "doorkeeper", "doorman", "farewell", "farewells", "gathering",
}  # fmt: skip
SUFFIXES: Final = {".py", ".md", ".html", ".js", ".ts", ".toml", ".conf", ".yml"}
GENERATED: Final = {"node_modules", "__pycache__", "dist", ".cache"}
SOURCES: Final = ROOT / "packages"


def test_sentences_name_their_subject() -> None:
    places = [SOURCES, ROOT / "docs", ROOT / "examples", ROOT / "README.md"]
    for place in places:
        paths = words.texts(place, SUFFIXES, but=GENERATED)
        assert words.uses(paths, UNNAMED) == []


def test_sentences_of_the_tests_do_too() -> None:
    own = {"test_words.py", "test_word_rules.py"}
    paths = words.texts(ROOT / "tests", SUFFIXES, but=GENERATED)
    assert words.uses((path for path in paths if path.name not in own), UNNAMED) == []


def test_names_are_the_words_of_the_field() -> None:
    assert words.names(words.texts(SOURCES, {".py"}, but=GENERATED), OLD_NAMES) == []


def test_comments_and_docstrings_use_them_too() -> None:
    assert words.uses(words.texts(SOURCES, {".py"}, but=GENERATED), OLD_WORDS) == []
