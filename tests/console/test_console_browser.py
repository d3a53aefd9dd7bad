"""A real browser on Airflow's real API server: sign in, open every page, look at slices by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.console.api_server import ApiServer, api_server
from tests.console.conftest import USERS
from tests.console_hospital import MODEL, NIGHT, PATIENT_ID, ROLES, Hospital


@pytest.fixture(scope="module")
def airflow(hospital: Hospital, tmp_path_factory) -> Iterator[ApiServer]:
    """Airflow's API server in a process of its own, on a database of its own.

    The site asks radiologists for their own stage first; rahel was shown every result before it did, nemo none.
    """
    with closing(psycopg2.connect(hospital.dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into reader_shown (case_id, model_version, result, reader) "
            "select case_id, model_version, result, 'rahel' from console_case where result is not null"
        )
    settings = {
        "GTR_CONSOLE__ROLES": ",".join((*ROLES, "radiologist=user:nemo")),
        "GTR_CONSOLE__OWN_STAGE_FIRST": "true",
    }
    with api_server(hospital, tmp_path_factory.mktemp("airflow"), USERS, settings) as server:
        yield server


@pytest.fixture(scope="module")
def chromium(need_program) -> Iterator[Browser]:
    expect.set_options(timeout=120_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=need_program("chromium", "chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, airflow: ApiServer) -> Iterator:
    """A function that gives a page of a user who has signed in at Airflow's own login."""
    pages: dict[str, Page] = {}
    troubles: list[str] = []

    def page_of(user: str) -> Page:
        if user not in pages:
            page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.set_default_timeout(120_000)
            page.goto(f"{airflow.url}/auth/login?next={airflow.url}/gtr/")
            page.fill("input[name=username]", user)
            page.fill("input[name=password]", airflow.passwords[user])
            page.press("input[name=password]", "Enter")
            page.wait_for_url(f"{airflow.url}/gtr/**")
            host = urlsplit(airflow.url).netloc
            page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("request", lambda r: troubles.append(r.url) if urlsplit(r.url).netloc != host else None)
            pages[user] = page
        return pages[user]

    page_of.troubles = troubles
    yield page_of
    for page in pages.values():
        page.context.close()


@pytest.fixture(autouse=True)
def no_trouble(signed_in) -> Iterator[None]:
    """No error on the console, and no request that leaves the host."""
    yield
    found, signed_in.troubles[:] = list(signed_in.troubles), []
    assert found == []


def unreadable(page: Page) -> list[tuple[str, str]]:
    """What axe finds serious on a page."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")]


PAGES = [
    ("rahel", "worklist", "Worklist"),
    ("rahel", "cases/{flagged}", "Case"),
    ("rahel", "cases/{past_retention}", "Case"),
    ("olga", "nights", "Nights"),
    ("olga", f"nights/{NIGHT}", "Night of"),
    ("olga", "cases/{failed}", "Case"),
    ("anton", "audits", "Audits"),
    ("ada", "models", "Models"),
    ("ada", f"models/{MODEL}", "Model"),
]


@pytest.mark.parametrize(("user", "path", "heading"), PAGES, ids=[path.split("/")[-1] for _, path, _ in PAGES])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_and_can_be_read_by_everybody(signed_in, airflow, hospital, user, path, heading, scheme):
    page = signed_in(user)
    page.emulate_media(color_scheme=scheme)

    page.goto(f"{airflow.url}/gtr/{path.format(**hospital.cases)}", wait_until="networkidle")

    expect(page.locator("h1")).to_contain_text(heading)
    assert unreadable(page) == []
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0


@pytest.fixture
def case(signed_in, airflow, hospital) -> Page:
    """The page of a staged case, with its slices drawn."""
    page = signed_in("rahel")
    page.emulate_media(color_scheme="light")
    page.goto(f"{airflow.url}/gtr/cases/{hospital.cases['staged']}")
    expect(page.locator("canvas[data-role='1']")).to_have_attribute("data-heated", "yes")
    return page


def pixels(page: Page) -> str:
    """A digest of what is drawn on the key slice's canvas."""
    return page.evaluate(
        "async () => { const c = document.querySelector(\"canvas[data-role='1']\");"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let h = 0; for (let i = 0; i < d.length; i += 7) h = (h * 31 + d[i]) | 0; return String(h); }"
    )


def changed(page: Page, before: str) -> str:
    """The digest, once the canvas shows something else than `before`."""
    for _ in range(200):
        after = pixels(page)
        if after != before:
            return after
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    raise AssertionError("the canvas still shows what it showed")


def test_the_wheel_shows_neighbouring_slices_without_the_heat_of_another(case):
    key = case.locator("canvas[data-role='1']")
    at = int(key.get_attribute("data-drawn"))

    key.hover()
    case.mouse.wheel(0, 120)

    expect(key).to_have_attribute("data-drawn", str(at + 1))
    expect(key).to_have_attribute("data-heated", "no")
    expect(case.locator("figcaption .place").nth(1)).to_have_text(f"{at + 2} of 7")


def test_the_key_slice_is_moved_to_the_slice_in_the_middle_picture(case):
    key, number, move = (
        case.locator("canvas[data-role='1']"),
        case.locator("#key-slice-number"),
        case.locator("#key-slice-move"),
    )
    at = int(key.get_attribute("data-drawn"))
    expect(number).to_have_value(str(at + 1))
    expect(move).to_be_disabled()

    key.focus()
    case.keyboard.press("ArrowUp")
    expect(number).to_have_value(str(at + 2))
    number.fill(str(at + 3))
    expect(key).to_have_attribute("data-drawn", str(at + 2))
    move.click()

    expect(case.locator("#words")).to_contain_text(f"key slice moved: {at + 3} of 7")
    case.get_by_role("button", name="Take back").click()
    expect(case.locator("#words")).to_contain_text("takes back")


def test_a_drag_moves_window_and_level(case):
    before, level, width = pixels(case), case.locator("#level"), case.locator("#width")
    assert (level.input_value(), width.input_value()) == ("50", "350")
    box = case.locator("canvas[data-role='1']").bounding_box()

    case.mouse.move(box["x"] + 100, box["y"] + 100)
    case.mouse.down()
    case.mouse.move(box["x"] + 140, box["y"] + 70)
    case.mouse.up()

    expect(width).to_have_value("430")
    expect(level).to_have_value("20")
    changed(case, before)


def test_the_heat_fades_with_the_slider_and_goes_at_a_key_press(case):
    with_heat = pixels(case)

    case.locator("#opacity").focus()
    case.keyboard.press("ArrowRight")
    more = changed(case, with_heat)
    case.locator("canvas[data-role='1']").focus()
    case.keyboard.press("h")

    expect(case.locator("canvas[data-role='1']")).to_have_attribute("data-heated", "no")
    assert changed(case, more) not in (with_heat, more)
    expect(case.locator("#opacity-shown")).to_have_text("off")


def test_everything_can_be_done_with_the_keyboard_alone(signed_in, airflow):
    page = signed_in("rahel")
    page.goto(f"{airflow.url}/gtr/worklist")

    page.locator("table.worklist a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/gtr/cases/*")
    key = page.locator("canvas[data-role='1']")
    expect(key).to_have_attribute("data-heated", "yes")
    at = int(key.get_attribute("data-drawn"))
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.role") == "1":
            break
    page.keyboard.press("ArrowUp")
    expect(key).to_have_attribute("data-drawn", str(at + 1))
    page.keyboard.press("ArrowRight")
    expect(page.locator("#width")).to_have_value("370")
    before = pixels(page)
    page.keyboard.press("+")
    changed(page, before)
    page.keyboard.press("r")
    expect(page.locator("#width")).to_have_value("350")
    expect(key).to_have_attribute("data-drawn", str(at))


def test_a_reader_gives_their_own_stage_by_keyboard_alone_and_then_agrees_with_the_result(signed_in, airflow):
    page = signed_in("nemo")
    page.goto(f"{airflow.url}/gtr/worklist")
    page.locator("table.worklist a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/gtr/cases/*")
    key = page.locator("canvas[data-role='1']")
    expect(key).to_have_attribute("data-heated", "no")
    expect(page.locator("#opacity")).to_be_disabled()
    expect(page.locator("main")).not_to_contain_text("not verified")
    assert unreadable(page) == []

    tab_to(page, "e => e.name === 'stage'")
    page.keyboard.press("ArrowDown")
    expect(page.locator("input[value=T2]")).to_be_checked()
    tab_to(page, "e => e.tagName === 'BUTTON'")
    page.keyboard.press("Enter")

    expect(page.locator(".big")).to_have_text("cT4")
    expect(key).to_have_attribute("data-heated", "yes")
    tab_to(page, "e => e.textContent.startsWith('Agree')")
    page.keyboard.press("Enter")
    expect(page.locator("#words tbody td")).to_contain_text(["nemo", "agrees", "own stage cT2"])
    assert unreadable(page) == []


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until what is wanted has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate(f"({wanted})(document.activeElement)"):
            return
    raise AssertionError(f"no Tab leads to {wanted}")


def test_the_filter_is_in_the_address_and_names_nobody(signed_in, airflow):
    page = signed_in("rahel")
    page.goto(f"{airflow.url}/gtr/worklist")
    expect(page.locator("main")).to_contain_text(PATIENT_ID)

    page.locator("select[name=outcome]").select_option("refused")
    page.wait_for_url("**outcome=refused**")

    expect(page.locator("table.worklist tbody tr")).to_have_count(1)
    assert "PHANTOM" not in page.url
    assert "PHANTOM" not in page.title()


def test_an_operator_stops_and_resumes_the_service(signed_in, airflow):
    page = signed_in("olga")
    page.goto(f"{airflow.url}/gtr/nights")

    page.fill("#service input[name=why]", "wrong patients in the PACS")
    page.keyboard.press("Enter")
    expect(page.locator("ul.notices")).to_contain_text("by olga: wrong patients in the PACS")
    page.locator("ul.notices a", has_text="Resume").click()
    page.fill("#service input[name=why]", "the PACS is mended")
    page.click("#service button")

    expect(page.locator("#service h2")).to_have_text("Stop the service")
    expect(page.locator("ul.notices")).not_to_contain_text("Nothing is staged or sent")


def test_an_operator_tries_a_failed_case_again_and_is_led_to_the_run(signed_in, airflow, hospital):
    page = signed_in("olga")
    page.goto(f"{airflow.url}/gtr/nights/{NIGHT}")

    row = page.locator("tr", has=page.locator(f"a[href$='{hospital.cases['failed']}']"))
    row.get_by_role("button", name="Try again at once").click()

    page.wait_for_url(f"**/cases/{hospital.cases['failed']}#runs")
    run = page.locator("#runs tbody tr")
    expect(run).to_have_count(1)
    expect(run).to_contain_text("queued")
    expect(run).to_contain_text("olga")
    shown = page.evaluate(
        "async (id) => (await (await fetch(`/api/v2/dags/stage_now/dagRuns/${id}`)).json()).triggering_user_name",
        run.locator("a").first.get_attribute("href").rsplit("/", 1)[-1],
    )
    assert shown == "olga"


def test_an_auditor_acknowledges_an_alarm(signed_in, airflow):
    page = signed_in("anton")
    page.goto(f"{airflow.url}/gtr/audits")

    page.fill("article input[name=note]", "the scanner was replaced, as planned")
    page.get_by_role("button", name="Acknowledge").click()

    expect(page.locator("main")).to_contain_text("No alarm is open.")
    expect(page.locator("main")).to_contain_text("the scanner was replaced, as planned")


def test_airflow_knows_the_console_and_its_places(signed_in, airflow):
    page = signed_in("ada")

    found = page.evaluate("async () => (await (await fetch('/api/v2/plugins')).json()).plugins")

    (console,) = [one for one in found if one["name"] == "gtr_console"]
    assert [view["destination"] for view in console["external_views"]] == ["nav", "dag_run"]
    assert [app["url_prefix"] for app in console["fastapi_apps"]] == ["/gtr"]


def test_who_has_no_role_sees_no_page(chromium, airflow):
    page = chromium.new_context().new_page()

    answer = page.goto(f"{airflow.url}/gtr/worklist")

    assert answer.status == 401
    expect(page.locator("a")).to_have_text("Sign in")
    page.context.close()
