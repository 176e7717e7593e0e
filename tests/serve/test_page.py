"""The page in a real browser, against a real server of a small vocoder: what is heard is compared with the library.

Chromium is the system's (`chromium`, `chromium-browser` or `google-chrome`), driven by Playwright's Python package;
without either these tests are skipped. A screenshot of each is left in pytest's folder for who wants to look.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import waveglow
from waveglow.data.image_sources import open_photo
from waveglow.serve.faces import Faces, Picture
from waveglow.vocoder import Vocoder

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
PATIENCE_MS = 60_000  # of machines that are busy
sync_api.expect.set_options(timeout=PATIENCE_MS)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; CONTRIBUTING.md says how to get it")
RATE, HOP = 22_050, 256
SIZES = {"wide": {"width": 1200, "height": 900}, "narrow": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for all tests. Its microphone is Chromium's own, which beeps."""
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--use-fake-device-for-media-stream"]
        )
        yield chromium
        chromium.close()


class Page:
    """A tab at the server's page, and what it complained about."""

    def __init__(self, browser: Any, url: str, folder: Path, **options: Any) -> None:
        self.folder, self.url = folder, url
        self.context = browser.new_context(**{"viewport": SIZES["wide"], **options})
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))

    def open(self, hash: str = "") -> Page:
        """Go there."""
        self.tab.goto(f"{self.url}/{hash}")
        self.run("await page.ready; return 0")
        return self

    def with_clip(self) -> Page:
        """Wait until the first clip is copied and drawn."""
        self.settled()
        return self

    def run(self, script: str, given: Any = None) -> Any:
        """What a script gives that sees the module's exports as `page`, and `given`."""
        body = script if "return" in script or ";" in script else f"return {script}"
        return self.tab.evaluate(f"async given => {{ const page = await import('/page/page.js'); {body} }}", given)

    def floats(self, expression: str) -> np.ndarray:
        """A Float32Array of the page."""
        code = f"""const array = {expression};
            const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
            let text = ''; for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text)"""
        return np.frombuffer(base64.b64decode(self.run(code)), "<f4")

    def settled(self, room: str = "voice") -> None:
        """Wait until what was asked for is there."""
        self.run(f"await page.{room}.settled")

    def drop(self, name: str, content: bytes, kind: str = "audio/wav") -> None:
        """Let a file fall on it."""
        self.run(
            """const bytes = Uint8Array.from(atob(given.content), c => c.charCodeAt(0));
               const dataTransfer = new DataTransfer();
               dataTransfer.items.add(new File([bytes], given.name, { type: given.kind }));
               document.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
               await page.voice.settled; await page.faces.settled""",
            {"content": base64.b64encode(content).decode(), "name": name, "kind": kind},
        )

    def slide(self, selector: str, value: str, room: str = "voice") -> None:
        """Move a slider, as a person who lets go of it."""
        self.tab.locator(selector).evaluate(
            """(slider, value) => { slider.value = value;
                for (const kind of ['input', 'change']) slider.dispatchEvent(new Event(kind, { bubbles: true })) }""",
            value,
        )
        self.settled(room)

    @property
    def alert(self) -> str:
        """What it says went wrong."""
        alert = self.tab.locator("#alert")
        return alert.locator("span").inner_text() if alert.is_visible() else ""

    def shoot(self, name: str) -> None:
        """A picture of all of it, which must not be wider than the window."""
        self.tab.screenshot(path=self.folder / f"{name}.png", full_page=True)
        assert self.tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), (
            "it has to be scrolled sideways"
        )


@pytest.fixture
def visit(browser, server, tmp_path) -> Iterator[Callable[..., Page]]:
    """`visit(**options of a browser's context)`: a page; none may complain."""
    pages: list[Page] = []

    def make(**options: Any) -> Page:
        pages.append(Page(browser, server.url, tmp_path, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.context.close()
        assert page.complaints == []


@pytest.fixture(scope="module")
def vocoder(tiny) -> Vocoder:
    """The one that is served, in this process."""
    return waveglow.load(tiny)


@pytest.fixture(scope="module")
def recording() -> bytes:
    """A WAV of 0.6 s: a gliding tone and a little noise, in 16 bits at the model's rate."""
    t = np.arange(int(0.6 * RATE)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * (200 * t + 150 * t**2)) + 0.01 * np.random.default_rng(0).standard_normal(len(t))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def samples_of(wav: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(wav), dtype="float32")[0]


def in_16_bits(audio: torch.Tensor) -> np.ndarray:
    return np.clip(np.rint(audio.numpy() * 32768), -32768, 32767) / 32768


STEP = 1.01 / 32768


def test_a_dropped_file_is_copied_as_the_library_copies_it(visit, vocoder, recording):
    page = visit().open()
    page.slide("#refine", "3")  # 4 steps
    page.drop("glide.wav", recording)
    original = samples_of(recording)
    # Chromium divides by 32767 where a sample is positive.
    np.testing.assert_allclose(page.floats("page.voice.player.sounds.a"), original, rtol=0, atol=STEP)
    expected = in_16_bits(vocoder(original, RATE, sigma=0.7, seed=0, refine=4))
    np.testing.assert_allclose(page.floats("page.voice.player.sounds.b"), expected, rtol=0, atol=STEP)
    page.tab.click("#play")
    heard = page.floats("page.voice.player.nodes.sources[1].buffer.getChannelData(0)")
    np.testing.assert_allclose(heard, expected, rtol=0, atol=STEP)
    assert "glide.wav" in page.tab.locator("#credit").inner_text()
    with page.tab.expect_download() as download:
        page.tab.click("#download")
    np.testing.assert_allclose(soundfile.read(download.value.path())[0], expected, rtol=0, atol=STEP)
    assert download.value.suggested_filename == "glide-copy.wav"
    page.shoot("voice")


def test_what_is_drawn_is_what_the_library_says(visit, vocoder, recording):
    page = visit().open()
    page.drop("glide.wav", recording)
    original = samples_of(recording)
    for key, audio in {"a": original, "b": page.floats("page.voice.player.sounds.b")}.items():
        expected = vocoder.mel(audio, RATE).numpy()
        np.testing.assert_allclose(page.floats(f"page.voice.mels.{key}.data"), expected.ravel(), atol=2e-3)
    nats = page.run("page.voice.nats")
    by_sample = vocoder.log_prob_by_sample(original, RATE).double()
    assert nats["nats_by_window"] == pytest.approx([float(part.sum()) for part in by_sample.split(2205)], rel=1e-4)
    assert sum(nats["nats_by_window"]) == pytest.approx(float(vocoder.log_prob(original, RATE)), rel=1e-5)
    assert f"{nats['nats'] / nats['samples']:.2f} nats" in page.tab.locator("#m-nats").inner_text()
    drawn = page.run(
        """const empty = [...document.querySelectorAll('.track canvas')].filter(canvas => {
             const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
             return !data.some(value => value);
           }); return [document.querySelectorAll('.track canvas').length, empty.length]"""
    )
    assert drawn == [7, 0]


def test_a_slider_and_a_seed_make_another_copy(visit, vocoder, recording):
    page = visit().open()
    page.drop("glide.wav", recording)
    page.slide("#refine", "0")
    page.slide("#sigma", "0.3")
    assert page.tab.locator("#sigma-said").inner_text() == "0.30"
    page.slide("#seed", "17")
    expected = in_16_bits(vocoder(samples_of(recording), RATE, sigma=0.3, seed=17, refine=0))
    np.testing.assert_allclose(page.floats("page.voice.player.sounds.b"), expected, rtol=0, atol=STEP)


def test_keys_switch_between_sounds_that_run_in_step(visit):
    page = visit().open().with_clip()
    page.tab.click("#play")
    gains = "const { gains } = page.voice.player.nodes; return [gains.a.gain.value, gains.b.gain.value]"
    started = "page.voice.player.nodes.began"
    before = page.run(started)
    assert page.run(gains) == [1, 0]
    page.tab.keyboard.press("b")
    sync_api.expect(page.tab.locator("[name=heard][value=b]")).to_be_checked()
    page.run("await new Promise(resolve => setTimeout(resolve, 100))")
    assert page.run(gains) == [0, 1]
    assert page.run(started) == before, "it began anew"
    assert page.run("page.voice.player.position") > 0.05
    page.tab.keyboard.press("a")
    page.run("await new Promise(resolve => setTimeout(resolve, 100))")
    assert page.run(gains) == [1, 0]
    page.tab.locator("body").press("Space")
    assert page.tab.locator("#play").get_attribute("aria-label") == "Play"


def test_a_switch_neither_clicks_nor_leaves_a_gap(visit):
    """The player's own nodes, rendered: from one sound of ones to another is a ramp of some hundred samples."""
    page = visit().open()
    switched = page.run(
        """const { constructor: Player } = page.voice.player, offline = new OfflineAudioContext(1, 11025, 22050);
           const player = new Player(() => offline), ones = new Float32Array(22050).fill(1);
           player.sounds = { a: ones, b: ones.map(one => one / 2) };
           offline.suspend(0.25).then(() => { player.hear('b'); offline.resume(); });
           player.start(0);
           const made = await offline.startRendering();
           player.stopNodes();
           return Array.from(made.getChannelData(0).subarray(1000))"""
    )
    assert (switched[0], switched[-1]) == (1, 0.5)
    steps = np.diff(switched)
    assert (steps <= 0).all(), "it goes from one straight to the other"
    assert 0.001 < -steps.min() < 0.01, "not at once"


def test_streams_are_heard_without_a_seam(visit, vocoder):
    page = visit().open("#streaming")
    page.tab.select_option("#s-clip", "2")
    page.tab.select_option("#s-pace", "0")
    page.tab.select_option("#s-latency", "exact")
    page.tab.click("#s-go")
    page.settled("streaming")
    assert page.alert == ""
    heard = page.floats("await page.streaming.running.dump()")
    mel = page.floats("page.voice.mels.a.data").reshape(80, -1)
    pieces = [*vocoder.stream([mel], sigma=0.7, seed=0)]
    assert len(heard) == mel.shape[1] * HOP == sum(map(len, pieces))
    np.testing.assert_allclose(heard, in_16_bits(torch.cat(pieces)), rtol=0, atol=4 * STEP)
    assert page.run("[page.streaming.running.heard, page.streaming.running.gaps]") == [len(heard), 0]
    assert "All of it was heard" in page.tab.locator("#s-state").inner_text()
    page.shoot("streaming")


def test_the_worklet_plays_pieces_as_one_sound_and_fades_at_a_gap(visit):
    """Rendered offline: what leaves the worklet is what it was given, and where nothing is left it doesn't click."""
    page = visit().open()
    played = page.run(
        """const sound = new OfflineAudioContext(1, 22050, 22050);
           await sound.audioWorklet.addModule('/page/worklet.js');
           const options = { numberOfInputs: 0, outputChannelCount: [1], processorOptions: { lead: 1 } };
           const node = new AudioWorkletNode(sound, 'stream', options);
           node.connect(sound.destination);
           for (const n of [7, 128, 1, 500, 333]) node.port.postMessage({ piece: new Float32Array(n).fill(0.5) });
           await new Promise(resolve => setTimeout(resolve, 50));
           return Array.from((await sound.startRendering()).getChannelData(0).subarray(0, 4000))"""
    )
    first = next(i for i, value in enumerate(played) if value)
    assert played[first : first + 969] == [0.5] * 969
    after = np.array(played[first + 968 :])
    assert (np.diff(after) <= 0).all(), "it fades"
    assert np.abs(np.diff(after)).max() < 0.05, "and doesn't click"


def test_faces_are_drawn_and_answer_their_sliders(visit):
    page = visit().open("#faces")
    page.settled("faces")
    assert page.tab.locator("#gallery img").count() == 12
    faces = Faces.load(device="cpu")
    page.tab.locator("#gallery button").nth(4).click()
    page.settled("faces")
    picture = page.run("page.faces.picture")
    assert shown(page, "#gallery button:nth-child(5) img") == faces.sample(1, **picture)[0]
    page.slide("[data-attribute=Smiling]", "-1", "faces")
    page.slide("[data-attribute=Eyeglasses]", "0.9", "faces")
    changed = Picture(**picture, weights=(("Smiling", -3.5), ("Eyeglasses", 0.9)))
    assert shown(page, "#f-face") == faces.manipulate(changed)["picture"]
    page.tab.click("#f-b")
    page.settled("faces")
    assert shown(page, "#f-end-b") == shown(page, "#strip img:last-child") == shown(page, "#f-face")
    assert page.tab.locator("#strip img").count() == 16
    page.slide("#f-way", "15", "faces")
    assert shown(page, "#f-between") == shown(page, "#f-face")
    page.shoot("faces")
    page.tab.click("#f-reset")
    page.settled("faces")
    assert shown(page, "#f-face") == faces.manipulate(Picture(**picture))["picture"]


def test_a_picture_of_ones_own_comes_back(visit):
    page = visit().open("#faces")
    page.settled("faces")
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.NEAREST).save(file, "JPEG")
    page.drop("me.jpg", file.getvalue(), "image/jpeg")
    assert page.alert == ""
    (page.folder / "me.jpg").write_bytes(file.getvalue())
    pixels = open_photo(page.folder / "me.jpg", 32, 3).numpy().tobytes()
    found = Faces.load(device="cpu").manipulate(Picture(pixels=pixels), details=True)
    assert shown(page, "#f-face") == found["original"]
    assert "comes back without loss" in page.tab.locator("#f-bits").inner_text()


def shown(page: Page, selector: str) -> bytes:
    """The file that an image on the page shows."""
    return base64.b64decode(page.tab.locator(selector).get_attribute("src").removeprefix("data:image/png;base64,"))


def test_a_recording_by_microphone_is_copied(visit):
    page = visit(permissions=["microphone"]).open()
    page.tab.click("#record")
    sync_api.expect(page.tab.locator("#record")).to_have_attribute("aria-pressed", "true")
    page.run("await new Promise(resolve => setTimeout(resolve, 700))")
    page.tab.click("#record")
    sync_api.expect(page.tab.locator("#credit")).to_contain_text("Your recording")
    page.settled()
    assert page.alert == ""
    assert 0.3 < len(page.floats("page.voice.player.sounds.b")) / RATE < 5


ERRORS = {
    "no microphone": (lambda page: page.tab.click("#record"), "The microphone isn't allowed to this page; allow it in"),
    "no sound": (lambda page: page.drop("notes.txt", b"hello"), "This is no sound that the browser can read"),
    "too long": (lambda page: page.drop("long.wav", silence(31)), "The recording is 31 s long; the page takes 30 s"),
    "no picture": (
        lambda page: page.drop("me.png", b"hello", "image/png"),
        "The picture is no picture that can be read as PNG, JPEG or WebP",
    ),
}


def silence(seconds: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(seconds * 8000), 8000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def test_errors_are_said_in_a_sentence(visit):
    page = visit().open().with_clip()
    for name, (act, said) in ERRORS.items():
        act(page)
        page.tab.locator("#alert").wait_for(state="visible")
        assert page.alert.startswith(said), name
        assert page.tab.get_by_role("alert").count() == 1
    page.shoot("error")
    page.tab.get_by_label("Dismiss").click()
    assert page.alert == ""
    page.complaints = [text for text in page.complaints if "422" not in text]  # the browser's own line about the status


def test_a_busy_server_and_one_that_is_gone_are_told_apart(visit):
    page = visit().open().with_clip()
    busy = {"code": "busy", "message": "16 requests are worked on or wait, no more are taken"}
    page.tab.route(
        "**/v1/resynthesize**",
        lambda route: route.fulfill(status=429, headers={"Retry-After": "3"}, body=json.dumps(busy)),
    )
    page.slide("#sigma", "0.5")
    assert page.alert == "The server is busy: 16 requests are worked on or wait, no more are taken (in 3 s)."
    page.tab.unroute("**/v1/resynthesize**")
    page.tab.route("**/v1/resynthesize**", lambda route: route.abort())
    page.slide("#sigma", "0.6")
    assert page.alert == "The server doesn't answer; does `waveglow serve` still run?"
    page.complaints = [text for text in page.complaints if not re.search("429|ERR_FAILED", text)]


def test_keyboard_and_screen_reader(visit):
    page = visit().open()
    tabs = page.tab.get_by_role("tab")
    assert [tab.inner_text() for tab in tabs.all()] == ["Voice", "Streaming", "Faces"]
    tabs.first.focus()
    for key, here in {"ArrowRight": "Streaming", "End": "Faces", "Home": "Voice", "ArrowLeft": "Faces"}.items():
        page.tab.keyboard.press(key)
        assert page.tab.evaluate("document.activeElement.textContent") == here
        assert page.tab.get_by_role("tab", selected=True).inner_text() == here
        assert page.tab.get_by_role("tabpanel").get_attribute("aria-labelledby") == f"tab-{here.lower()}"
    page.settled("faces")
    nameless = page.run(
        """const named = element => element.getAttribute('aria-label') || element.alt ||
             [...element.labels ?? []].some(label => label.textContent.trim()) ||
             element.textContent.trim() || element.hasAttribute('aria-labelledby');
           const all = document.querySelectorAll('button, input, select, canvas, img, [role=tabpanel], dialog');
           return [...all].filter(element => !element.parentElement.closest('[role=img]'))
             .filter(element => !named(element) && !named(element.children[0] ?? element))
             .map(element => element.outerHTML)"""
    )
    assert nameless == []
    assert page.tab.locator("#said").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize(
    ("name", "options"),
    {
        "dark": {"color_scheme": "dark"},
        "narrow": {"viewport": SIZES["narrow"]},
    }.items(),
)
def test_it_fits(visit, name, options):
    page = visit(**options).open().with_clip()
    for tab in ("voice", "streaming", "faces"):
        page.tab.click(f"#tab-{tab}")
        page.settled(tab)
        page.shoot(f"{tab}-{name}")
    canvas = page.tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (canvas == "rgb(15, 18, 22)") == (name == "dark")
