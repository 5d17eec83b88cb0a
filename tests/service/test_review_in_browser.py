"""The pages in a real browser, with rows that try to run, to turn the text around, and to be too much."""

import re

import pytest
from playwright.sync_api import sync_playwright

from tests.factories import CHROMIUM, EVIL
from tests.pages.browsing import unreadable, violations
from tests.service.reviewing import items_of, key_of, quarantined, waiting_job
from tests.service.serving import served, settings_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]
HOSTILE = (
    EVIL,
    "</div></article><form action=//evil.example><script>alert(1)</script><svg onload=alert(1)>",
    "\u202efdp.exe\u202c \u2066x\u2069 \u0645\u0631\u062d\u0628\u0627 \x07",
    "word " * 100_000 + "how to rob the bank " + "word " * 100_000,
    '" onfocus=alert(1) autofocus x="{{ 7 * 7 }}\'><style>*{display:none}</style><meta http-equiv=refresh content=0>',
)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[1, 2], ids=["one person", "two people"], scope="module")
def server(request, tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    with served(settings_for(folder, tiny_model, reviewers=request.param), checks=False) as running:
        yield running


class Seat:
    """A browser's window with somebody at it; what should never happen is noted."""

    def __init__(self, chromium, server, name, **options):
        self.server, self.wrong = server, []
        self.page = chromium.new_context(**options).new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda r: None if r.url.startswith(server.url) else self.wrong.append(r.url))
        self.go("/review")
        self.page.get_by_label("API key").fill(key_of(server, name))
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", name="Review").wait_for()

    def go(self, path):
        self.page.goto(self.server.url + path)

    def decide(self, key, reason):
        """As it is done by keys alone."""
        self.page.keyboard.press(key)
        self.page.keyboard.type(reason)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")


def hostile_job(server):
    rows = quarantined(*HOSTILE, span="")
    spans = (EVIL[:30], "<script>alert(1)</script>", "\u202efdp.exe\u202c", "how to rob the bank", "{{ 7 * 7 }}")
    rows = [type(r)(**{**vars(r), "span": span, "reason": EVIL}) for r, span in zip(rows, spans, strict=True)]
    return waiting_job(server, rows)


def test_hostile_rows_are_text_and_their_spans_are_marked(chromium, server):
    job = hostile_job(server)
    seat = Seat(chromium, server, "anna")
    seat.go(f"/review/{job}")
    page = seat.page
    assert page.locator("article.card").count() == len(HOSTILE)
    assert page.locator("article img, article script, article svg, article style, article meta").count() == 0
    assert page.locator("form[action*=evil]").count() == 0
    assert "owned" not in page.title()
    marks = [page.locator(f"#row-{100 - i} mark").all_inner_texts() for i in range(len(HOSTILE))]
    assert marks[0] == [EVIL[:30]]
    assert marks[1] == ["<script>alert(1)</script>"]
    assert "".join(marks[2]) == "U+202Efdp.exeU+202C"
    assert marks[3] == ["how to rob the bank"]
    assert marks[4] == ["{{ 7 * 7 }}"]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x07]", page.inner_text("body"))
    seen = page.locator("#row-97 mark").evaluate(
        "m => { const a = m.getBoundingClientRect(), b = m.closest('.text').getBoundingClientRect();"
        " return a.top >= b.top && a.bottom <= b.bottom; }"
    )
    assert seen
    with page.expect_download() as download:
        page.locator("#row-97").get_by_role("link", name="The whole row").click()
    assert download.value.suggested_filename.endswith("row-97.txt")
    assert len(download.value.path().read_bytes()) > 1_000_000
    for path in (f"/review/{job}/trail", f"/review/{job}/bulk?low=0&high=1", "/review"):
        seat.go(path)
    assert seat.wrong == []


def test_a_script_that_got_in_would_not_run(chromium, server):
    seat = Seat(chromium, server, "anna")
    seat.page.evaluate(
        "() => { const s = document.createElement('div'); s.innerHTML = '<img src=/x onerror=\"window.ran=1\">';"
        " const t = document.createElement('script'); t.textContent = 'window.ran=1'; document.body.append(s, t); }"
    )
    seat.page.wait_for_timeout(300)
    assert seat.page.evaluate("window.ran") is None


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_all_words_can_be_read(chromium, server, width, scheme):
    job = hostile_job(server)
    seat = Seat(chromium, server, "anna", viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in ("/review", f"/review/{job}", f"/review/{job}/bulk?low=0&high=1", f"/review/{job}/trail"):
        seat.go(path)
        assert seat.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert unreadable(seat.page) == [], path
        if (width, scheme) in ((360, "dark"), (1280, "light")):
            assert violations(seat.page) == [], path


def test_rows_are_decided_by_keys_alone(chromium, server):
    job = waiting_job(server, quarantined("one", "two", "three"))
    seats = [Seat(chromium, server, name) for name in ("anna", "ben")[: server.service.settings.reviewers]]
    for seat in seats:
        seat.go(f"/review/{job}")
        page = seat.page
        page.keyboard.press("n")
        assert page.evaluate("document.activeElement.id") == "row-100"
        page.keyboard.press("n")
        seat.decide("d", "a reason with k, d, n and p in it")
        assert page.evaluate("document.activeElement.id") == "row-98"
        assert page.get_by_role("status").inner_text().startswith("One decision is saved.")
        page.keyboard.press("p")
        assert page.evaluate("document.activeElement.id") == "row-100"
        page.keyboard.press("d")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "row-100"
        seat.decide("k", "usual")
        seat.decide("k", "usual, too")
        assert page.get_by_text("No row is left for you to decide.").is_visible()
    assert {row: item.decision for row, item in items_of(server, job).items()} == {100: "keep", 99: "drop", 98: "keep"}
    page = seats[-1].page
    if len(seats) == 2:
        assert "3 of 3 rows, Cohen's kappa 1.000" in page.inner_text("main")
    page.get_by_role("button", name="Release the job").click()
    page.get_by_text("This review is finished").wait_for()
    assert all(seat.wrong == [] for seat in seats)


def test_keys_can_be_switched_off(chromium, server):
    job = waiting_job(server, quarantined("one"))
    seat = Seat(chromium, server, "anna")
    seat.go(f"/review/{job}")
    seat.page.get_by_label("Keys").uncheck()
    seat.page.reload()
    seat.page.keyboard.press("k")
    assert seat.page.locator("input[value=keep]:checked").count() == 0


def test_it_works_without_a_script_too(chromium, server):
    job = waiting_job(server, quarantined("one", "two"))
    seat = Seat(chromium, server, "anna", java_script_enabled=False)
    seat.go(f"/review/{job}")
    card = seat.page.locator("#row-99")
    card.get_by_label("Drop").check()
    card.get_by_label("Why").fill("no")
    card.get_by_role("button", name="Save").click()
    seat.page.get_by_role("status").wait_for()
    assert seat.page.locator("article.card").count() == 1
