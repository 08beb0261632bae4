"""The page in a real browser against a real server: what a user does, what must never be requested or said."""

import csv
import io
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

from app.config import Settings
from app.library.manifest import read_manifest
from app.wiring import running_service

pytestmark = pytest.mark.slow

KEY = "a-key-for-the-page"
PURPOSE = "Research and annotation use: finds library images that look similar. Not a diagnosis."
FORBIDDEN = re.compile(
    r"%|per ?cent|\bdetect|\bconfiden|\bprobab|\baccura|\bdiagnosed|\bpredict|\bsimilarity\b", re.IGNORECASE
)
POLICY = re.compile(r".*(?:CSP|Content Security Policy).*")
EVIDENCE = re.compile(r"\d+ of 10 carry .+, (\d+\.\d|less than 0\.1) expected by chance")

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def server(demo_data: Path, start_server: Callable[..., str]) -> str:
    return start_server(demo_data)


@pytest.fixture(scope="module")
def locked_server(demo_data: Path, phantoms: Path, tmp_path_factory, start_server: Callable[..., str]) -> str:
    """A server that asks for a key and has two libraries."""
    data = tmp_path_factory.mktemp("locked") / "data"
    shutil.copytree(demo_data, data)
    with running_service(Settings(data=data)) as service:
        manifest = read_manifest(phantoms / "manifest.csv")
        service.importer.run("second", manifest)
    key_file = data / "bearer.key"
    key_file.write_text(KEY + "\n")
    key_file.chmod(0o600)
    return start_server(data, SECURITY__KEY_FILE=str(key_file))


@pytest.fixture
def own_server(demo_data: Path, tmp_path: Path, start_server: Callable[..., str]) -> str:
    """A server over a copy of the library that a test may change."""
    shutil.copytree(demo_data, tmp_path / "data")
    return start_server(tmp_path / "data")


@pytest.fixture
def query_file(query_file: Path, tmp_path: Path) -> Path:
    """A synthetic picture of 640 x 480 pixels whose patient is not in the library."""
    Image.open(query_file).resize((640, 480)).save(tmp_path / "query.png")
    return tmp_path / "query.png"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1300, "height": 900})
    yield opened
    opened.close()


@pytest.fixture
def open_page(context: BrowserContext) -> Iterator[OpenPage]:
    """Opens a page; at the end nothing may have broken its policy or gone to another origin."""
    violations: list[str] = []
    requests: list[Request] = []
    opened: list[str] = []
    context.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error(`CSP ${e.effectiveDirective}`))"
    )

    def open_(address: str, path: str = "/") -> Page:
        page = context.new_page()
        page.on("console", lambda message: violations.extend(POLICY.findall(message.text)))
        page.on("pageerror", lambda error: violations.append(str(error)))
        page.on("request", lambda request: requests.append(request))
        page.goto(address + path)
        opened.append(address)
        return page

    yield open_
    assert violations == []
    local = {urlsplit(address).netloc for address in opened} | {""}
    assert {request.url for request in requests if urlsplit(request.url).netloc not in local} == set()


@pytest.fixture
def page(open_page: OpenPage, server: str) -> Page:
    return open_page(server)


def choose(page: Page, file: Path | dict[str, object]) -> None:
    """Choose a file and wait until its neighbours and its crop are there."""
    page.set_input_files("#file", file)  # type: ignore[arg-type]
    expect(page.locator("#query-caption")).to_have_text("Your image as it was searched")


def sent_to(page: Page, path: str, action: Callable[[], None]) -> Request:
    """The request to a path that an action brings about."""
    with page.expect_request(lambda request: urlsplit(request.url).path == path) as caught:
        action()
    return caught.value


def tab_to(page: Page, selector: str) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"the Tab key does not lead to {selector}")


def is_painted(page: Page, selector: str) -> bool:
    return bool(page.locator(selector).evaluate("(image) => image.decode().then(() => image.naturalWidth > 0)"))


def test_a_chosen_image_shows_ten_neighbours_and_its_crop(page: Page, query_file: Path, phantoms: Path) -> None:
    expect(page.get_by_role("banner").get_by_text(PURPOSE)).to_be_visible()
    expect(page.locator("#library-only")).to_have_text(f"Library: demo, {len(manifest_rows(phantoms))} images")

    choose(page, query_file)

    cards = page.locator("#gallery > li")
    expect(cards).to_have_count(10)
    expect(cards.first).to_contain_text("Library label: ")
    assert re.search(r"Distance\s*\d\.\d{3}\s*Histogram\s*\d\.\d\d\s*MSE\s*[\d,]+", cards.first.inner_text())
    assert is_painted(page, "#query-picture")
    assert is_painted(page, "#gallery > li:nth-child(10) img")
    expect(page.locator("#query-facts")).to_contain_text("PNG, 640 × 480 pixels")
    expect(page.locator("#results-title")).to_have_text("10 library images that look most like your image")
    expect(page.locator("#status")).to_have_text("10 library images that look most like your image.")


def test_neighbours_are_asked_for_one_of_each_patient(page: Page, query_file: Path) -> None:
    request = sent_to(page, "/search", lambda: page.set_input_files("#file", query_file))
    assert "max_per_patient=1" in request.url
    assert "k=10" in request.url


def test_evidence_is_worded_against_chance(page: Page, query_file: Path) -> None:
    choose(page, query_file)
    sentences = page.locator("#evidence .sentence").all_text_contents()
    assert len(sentences) > 3
    assert [text for text in sentences if not EVIDENCE.fullmatch(text)] == []


def test_no_view_speaks_of_per_cent_or_certainty(page: Page, query_file: Path) -> None:
    views = [page.inner_text("body")]
    choose(page, query_file)
    page.locator("details").evaluate_all("(all) => all.forEach((one) => (one.open = true))")
    views.append(page.inner_text("body"))
    page.click("#gallery a >> nth=0")
    expect(page.locator("#reference-panel")).to_be_visible()
    views.append(page.inner_text("body"))
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"text"})
    expect(page.locator("#problem")).to_be_visible()
    views.append(page.inner_text("body"))

    assert [FORBIDDEN.findall(view) for view in views] == [[], [], [], []]
    assert [PURPOSE in view for view in views] == [True] * 4


def test_an_error_is_readable_and_the_page_goes_on(page: Page, query_file: Path) -> None:
    page.set_input_files("#file", {"name": "scan.png", "mimeType": "image/png", "buffer": b"this is text"})
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("What you can do: ")
    expect(problem).to_contain_text("unknown_format")

    choose(page, query_file)
    expect(problem).to_be_hidden()
    expect(page.locator("#gallery > li")).to_have_count(10)


def test_a_dragged_box_is_the_region_of_the_next_search(page: Page, query_file: Path) -> None:
    choose(page, query_file)
    page.click("#region-panel summary")
    stage = page.locator("#stage")
    expect(stage).to_be_visible()
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.75, steps=4)
    page.mouse.up()

    request = sent_to(page, "/search", lambda: page.click("#use-region"))
    region = [int(edge) for edge in parse_qs(urlsplit(request.url).query)["region"][0].split(",")]
    assert region == pytest.approx([160, 120, 480, 360], abs=3)
    expect(page.locator("#query-facts")).to_contain_text("chosen by you")
    has_width = "(width) => document.querySelector('#query-picture').naturalWidth === width"
    page.wait_for_function(has_width, arg=region[2] - region[0])  # the picture before it is shown a moment longer

    back = sent_to(page, "/search", lambda: page.click("#drop-region"))
    assert "region=" not in back.url
    expect(page.locator("#query-facts")).to_contain_text("found by the service")


def test_two_clicks_or_typed_edges_make_a_box_too(page: Page, query_file: Path) -> None:
    choose(page, query_file)
    page.click("#region-panel summary")
    stage = page.locator("#stage")
    expect(stage).to_be_visible()
    box = stage.bounding_box()
    assert box is not None
    stage.click(position={"x": box["width"] * 0.8, "y": box["height"] * 0.8})
    stage.click(position={"x": box["width"] * 0.2, "y": box["height"] * 0.2})
    assert int(page.input_value("#x0")) == pytest.approx(128, abs=3)
    assert int(page.input_value("#y1")) == pytest.approx(384, abs=3)

    page.fill("#x0", "100")
    request = sent_to(page, "/search", lambda: page.press("#x0", "Enter"))
    assert "region=100%2C" in request.url


def test_a_region_outside_the_picture_is_explained(page: Page, query_file: Path) -> None:
    choose(page, query_file)
    page.click("#region-panel summary")
    page.fill("#x1", "9000")
    page.click("#use-region")
    expect(page.get_by_role("alert")).to_contain_text("640 x 480")


def test_everything_is_reached_by_keyboard(page: Page, query_file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        tab_to(page, "#file")
        outline = page.locator("label[for=file]").evaluate("(label) => getComputedStyle(label).outlineStyle")
        page.keyboard.press("Enter")
    assert outline == "solid"
    chooser.value.set_files(query_file)
    expect(page.locator("#gallery > li")).to_have_count(10)

    tab_to(page, "#gallery a:focus-visible")
    page.keyboard.press("Enter")
    expect(page.locator("#reference-title")).to_be_focused()
    tab_to(page, "#trail-list a")
    assert page.evaluate("() => document.activeElement.textContent") == "← Your image"
    page.keyboard.press("Enter")
    expect(page.locator("#query-panel")).to_be_visible()


def test_neighbours_of_a_neighbour_and_the_way_back(page: Page, query_file: Path) -> None:
    choose(page, query_file)
    first = page.locator("#gallery > li >> nth=0").inner_text()
    page.click("#gallery a >> nth=0")
    expect(page.locator("#results-title")).to_have_text("10 library images that look most like this one")
    expect(page.locator("#results-note")).to_contain_text("none of the same patient")
    assert is_painted(page, "#reference-picture")
    page.click("#gallery a >> nth=1")
    expect(page.locator("#trail-list li")).to_have_count(3)

    page.go_back()
    expect(page.locator("#trail-list li")).to_have_count(2)
    page.click("#trail-list a >> nth=0")
    expect(page.locator("#query-panel")).to_be_visible()
    assert page.locator("#gallery > li >> nth=0").inner_text() == first


def test_a_link_to_a_reference_opens_its_neighbours(page: Page, open_page: OpenPage, server: str, query_file: Path):
    choose(page, query_file)
    fragment = page.locator("#gallery a >> nth=0").get_attribute("href")
    linked = open_page(server, f"/{fragment}")
    expect(linked.locator("#gallery > li")).to_have_count(10)
    expect(linked.locator("#reference-labels")).to_contain_text("Library label: ")


def test_a_link_to_nothing_is_explained(open_page: OpenPage, server: str) -> None:
    page = open_page(server, "/#reference=00000000-0000-0000-0000-000000000000")
    expect(page.get_by_role("alert")).to_contain_text("What you can do: ")


def test_a_named_patient_is_left_out_and_never_in_a_url(page: Page, query_file: Path, phantoms: Path) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    choose(page, query_file)
    expect(page.locator("#query-facts")).to_contain_text("not known, so not left out")
    nearest = page.locator("#gallery .origin >> nth=0").inner_text().split(" ")[0]
    patients = {row["external_id"]: row["patient_id"] for row in manifest_rows(phantoms)}

    page.fill("#patient", patients[nearest])
    page.press("#patient", "Enter")
    expect(page.locator("#query-facts")).not_to_contain_text("not known")
    shown = [text.split(" ")[0] for text in page.locator("#gallery .origin").all_inner_texts()]
    assert len(shown) == 10
    assert patients[nearest] not in {patients[external_id] for external_id in shown}
    assert [url for url in urls if patients[nearest] in url] == []
    assert page.locator("#patient").evaluate("(field) => getComputedStyle(field).webkitTextSecurity") == "disc"

    choose(page, query_file)
    assert page.input_value("#patient") == ""


def test_the_name_of_a_file_is_not_sent(page: Page, query_file: Path) -> None:
    """Chromium shows no body with files to the test, so the form is looked at while it is filled."""
    page.evaluate(
        """() => {
            const append = FormData.prototype.append;
            window.names = [];
            FormData.prototype.append = function (...all) { window.names.push(all[2]); append.apply(this, all); };
        }"""
    )
    choose(page, {"name": "DOE^JANE.png", "mimeType": "image/png", "buffer": query_file.read_bytes()})
    assert page.evaluate("() => window.names") == ["image", "image"]


def test_a_cine_can_be_stepped_through_and_its_whole_picture_drawn_on(page: Page, query_file: Path, tmp_path: Path):
    file = write_cine(query_file, tmp_path / "cine.dcm", frames=5)
    choose(page, file)
    assert page.input_value("#frame") == "3"
    expect(page.locator("#frame-count")).to_have_text("(1 to 5)")
    expect(page.locator("#query-facts")).to_contain_text("left out")

    page.fill("#frame", "5")
    request = sent_to(page, "/search", lambda: page.press("#frame", "Enter"))
    assert "frame=5" in request.url
    expect(page.locator("#query-facts dd >> nth=1")).to_have_text("5")

    page.click("#region-panel summary")
    expect(page.locator("#stage")).to_be_visible()
    assert page.locator("#stage-picture").evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [640, 480]


@pytest.mark.parametrize("suffix", ["tiff", "bmp", "webp", "jpg"])
def test_other_formats_are_shown_as_searched(page: Page, query_file: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"query.{suffix}"
    Image.open(query_file).convert("RGB").save(file)
    choose(page, file)
    assert is_painted(page, "#query-picture")
    page.click("#region-panel summary")
    expect(page.locator("#stage")).to_be_visible()
    assert page.locator("#stage-picture").evaluate("(image) => image.naturalWidth") == 640


def test_a_dropped_and_a_pasted_image_are_searched(page: Page, query_file: Path) -> None:
    expect(page.locator("#library-only")).to_be_visible()
    for event in ("drop", "paste"):
        page.evaluate(
            """([event, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "scan.png", { type: "image/png" }));
                const options = { bubbles: true, cancelable: true };
                document.body.dispatchEvent(event === "drop"
                    ? new DragEvent("drop", { ...options, dataTransfer: data })
                    : new ClipboardEvent("paste", { ...options, clipboardData: data }));
            }""",
            [event, list(query_file.read_bytes())],
        )
        expect(page.locator("#query-caption")).to_have_text("Your image as it was searched")
        page.reload()
        expect(page.locator("#gallery > li")).to_have_count(0)


def test_a_slow_upload_shows_how_far_it_is_and_can_be_cancelled(page: Page, query_file: Path) -> None:
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#file", {"name": "s.bmp", "mimeType": "image/bmp", "buffer": bmp(1400, 1000)})
    expect(page.locator("#progress-text")).to_have_text(re.compile(r"Uploading, [1-4]\.\d of 4\.2 MB"))
    page.click("#cancel")
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("Cancelled.")
    expect(page.locator("#problem")).to_be_hidden()

    network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    choose(page, query_file)
    expect(page.locator("#gallery > li")).to_have_count(10)


def test_a_key_is_kept_in_the_tab_and_forgotten(open_page: OpenPage, locked_server: str, query_file: Path) -> None:
    page = open_page(locked_server)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert FORBIDDEN.findall(dialog.inner_text()) == []
    assert PURPOSE in dialog.inner_text()

    page.keyboard.type("another key")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("The key is not the right one.")
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    options = ["Choose a library", re.compile("^demo"), re.compile("^second")]
    expect(page.locator("#library option")).to_have_text(options)

    page.select_option("#library", "demo")
    choose(page, query_file)
    assert is_painted(page, "#gallery > li:nth-child(1) img")
    page.reload()
    expect(page.locator("#library")).to_be_visible()
    expect(dialog).to_be_hidden()
    assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]

    page.click("#forget-key")
    expect(dialog).to_be_visible()


def test_without_the_key_the_page_says_what_to_do(open_page: OpenPage, locked_server: str) -> None:
    page = open_page(locked_server)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("What you can do: reload this page")


def test_an_image_that_is_chosen_before_the_page_is_complete_waits_for_it(
    open_page: OpenPage, context: BrowserContext, server: str, query_file: Path
) -> None:
    context.route("**/version", lambda route: (time.sleep(1), route.continue_()))
    page = open_page(server)
    page.set_input_files("#file", query_file)
    expect(page.locator("#query-caption")).to_have_text("Your image as it was searched")
    expect(page.locator("#add-image")).to_be_visible()
    expect(page.locator("#library-only")).to_contain_text("Library: demo")


def test_of_several_libraries_none_is_searched_until_it_is_chosen(
    open_page: OpenPage, locked_server: str, query_file: Path
) -> None:
    page = open_page(locked_server)
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    expect(page.locator("#library")).to_be_visible()
    page.set_input_files("#file", query_file)
    expect(page.locator("#status")).to_have_text("Choose the library to search.")
    expect(page.locator("#library")).to_be_focused()
    for name in ("demo", "second"):
        request = sent_to(page, "/search", lambda name=name: page.select_option("#library", name))
        assert f"library={name}" in request.url
        expect(page.locator("#source")).to_contain_text(f"Library {name}")


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page, query_file: Path) -> None:
    page.set_viewport_size({"width": 380, "height": 800})
    choose(page, query_file)
    page.click("#region-panel summary")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 380


def test_the_interactive_documentation_needs_nothing_from_elsewhere(open_page: OpenPage, server: str) -> None:
    page = open_page(server, "/docs")
    expect(page.locator(".opblock-summary-path", has_text="/search")).to_be_visible()
    page.locator(".opblock-summary-path", has_text="/search").click()
    expect(page.get_by_text("The labelled references that look most like an image.").first).to_be_visible()


def manifest_rows(phantoms: Path) -> list[dict[str, str]]:
    with (phantoms / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bmp(width: int, height: int) -> bytes:
    """A picture of noise, three bytes a pixel."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(noise).save(packed, "BMP")
    return packed.getvalue()


def write_cine(picture: Path, file: Path, *, frames: int) -> Path:
    """A DICOM cine of one synthetic picture, repeated."""
    pixels = np.asarray(Image.open(picture).convert("L"))
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = UltrasoundMultiFrameImageStorage
    data.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["page"])
    data.Modality = "US"
    data.PatientID = "synthetic-cine"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.Rows, data.Columns = pixels.shape
    data.NumberOfFrames = frames
    data.PixelData = np.repeat(pixels[None], frames, axis=0).tobytes()
    data.save_as(file, enforce_file_format=True)
    return file


def chips(page: Page) -> list[str]:
    return page.locator("#filter-list li").all_text_contents()


def organs(page: Page) -> list[str]:
    return page.locator("#gallery .labels p:first-child .label-filter").all_text_contents()


def test_a_click_on_a_label_shows_only_images_with_it(page: Page, query_file: Path) -> None:
    choose(page, query_file)
    name = organs(page)[0]
    request = sent_to(page, "/search", lambda: page.locator("#gallery .label-filter").first.click())
    assert parse_qs(urlsplit(request.url).query)["where"] == [f"organ:{name}"]
    expect(page.locator("#filters")).to_be_visible()
    assert chips(page) == [f"organ {name}"]
    assert set(organs(page)) == {name}
    expect(page.locator("#add-image")).to_have_text("Add to the library")  # all of them carry it: that says nothing

    page.locator("#gallery a").first.click()
    expect(page.locator("#reference-panel")).to_be_visible()
    assert set(organs(page)) == {name}
    page.click("#drop-filters")
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("#gallery > li")).to_have_count(10)
    page.go_back()
    expect(page.locator("#query-panel")).to_be_visible()
    expect(page.locator("#filters")).to_be_hidden()


def test_a_label_is_corrected_by_keyboard(open_page: OpenPage, own_server: str, query_file: Path) -> None:
    page = open_page(own_server)
    choose(page, query_file)
    tab_to(page, "#gallery .card > button")
    page.keyboard.press("Enter")
    expect(page.locator("#label-organ")).to_be_focused()
    page.keyboard.type("corrected organ")
    request = sent_to(page, "/search", lambda: page.keyboard.press("Enter"))
    assert request.method == "POST"
    expect(page.locator("#label-dialog")).to_be_hidden()
    expect(page.locator("#gallery > li").first).to_contain_text("Library label: corrected organ")

    page.locator("#gallery a").first.click()
    expect(page.locator("#correct-reference")).to_have_text("Correct labels")
    page.click("#correct-reference")
    page.fill("#label-findings", "one; two")
    page.click("#label-save")
    expect(page.locator("#reference-labels")).to_contain_text("Findings: one, two")


def test_an_unlabelled_image_takes_the_label_of_most(
    open_page: OpenPage, own_server: str, query_file: Path, phantoms: Path
) -> None:
    page = open_page(own_server)
    choose(page, query_file)
    button = page.locator("#add-image")
    found = re.fullmatch(r"Add to the library as (.+) \((\d+) of 10\)", button.inner_text())
    assert found is not None
    assert int(found[2]) > 5
    page.fill("#patient", "P-of-the-page")
    page.click("#search")
    expect(page.locator("#query-facts")).to_contain_text("left out")
    button.click()
    assert page.input_value("#label-organ") == found[1]
    request = sent_to(page, "/libraries/demo/references", lambda: page.click("#label-save"))
    assert "P-of-the-page" not in request.url
    expect(page.locator("#query-notes")).to_contain_text("This image is in the library itself")
    count = len(manifest_rows(phantoms))
    expect(page.locator("#library-only")).to_have_text(f"Library: demo, {count + 1} images")
    gone = page.locator("#gallery a").last.get_attribute("href").removeprefix("#reference=")
    page.evaluate("id => fetch(`/references/${id}`, { method: 'DELETE' })", gone)
    page.click("#search")
    expect(page.locator("#library-only")).to_have_text(f"Library: demo, {count} images")
    page.click("#open-own")
    expect(page.locator("#reference-labels")).to_contain_text(f"Library label: {found[1]}")


def test_labels_that_the_service_refuses_are_explained(open_page: OpenPage, own_server: str, query_file: Path) -> None:
    page = open_page(own_server)
    choose(page, query_file)
    page.locator("#gallery .card > button").first.click()
    page.fill("#label-organ", "x" * 300)
    page.click("#label-save")
    expect(page.locator("#label-problem")).to_contain_text("What you can do: ")
    page.keyboard.press("Escape")
    expect(page.locator("#label-dialog")).to_be_hidden()


def test_without_writes_nothing_can_be_changed(
    open_page: OpenPage, demo_data: Path, start_server: Callable[..., str], query_file: Path
) -> None:
    page = open_page(start_server(demo_data, SERVER__WRITES="false"))
    choose(page, query_file)
    expect(page.locator("#add-panel")).to_be_hidden()
    expect(page.locator("#gallery .card > button")).to_have_count(0)
    page.locator("#gallery a").first.click()
    expect(page.locator("#reference-panel")).to_be_visible()
    expect(page.locator("#correct-reference")).to_be_hidden()
