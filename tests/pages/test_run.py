"""The page about a training run, over made-up runs of known shape."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from waveglow.pages import figures, run_parts
from waveglow.pages import run as report

SAMPLE_RATE = 8000


def falling(per_thousand_steps: float, *, scatter: float = 0.0, count: int = 12) -> list[tuple[float, float]]:
    """(step, NLL in nats) every 1000 steps."""
    noise = np.random.default_rng(0).normal(0, 1, count)
    return [(1000 * (i + 1), -4 - per_thousand_steps * i + scatter * noise[i]) for i in range(count)]


def write_lines(run_dir: Path, *records: dict[str, object], tail: str = "") -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    (run_dir / "metrics.jsonl").write_text(text + tail, encoding="utf-8")


def write_wav(path: Path, *, seconds: float = 0.5, hz: float = 300) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time), SAMPLE_RATE, subtype="PCM_16")


def train_line(step: int, **values: float) -> dict[str, object]:
    return {"kind": "train", "step": step, "loss": -3.0 - step / 10_000, "elapsed_seconds": step / 10} | values


def valid_line(step: int, nats: float) -> dict[str, object]:
    return {"kind": "valid", "step": step, "nll_nats": nats, "nll_bits": nats / np.log(2) + 15, "clips": 8}


@pytest.fixture
def run_dir(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    write_lines(
        run,
        *(train_line(step, audio_seconds_per_second=5.25) for step in range(100, 2001, 100)),
        *(valid_line(step, nats) for step, nats in [(500, -3.5), (1000, -3.9), (1500, -4.25), (2000, -4.125)]),
        {"kind": "event", "step": 700, "what": "resumed from <step 600> & went on"},
        tail='{"kind": "valid", "st',
    )
    for clip in ("a", "b"):
        for folder in ("reference", "step_00000500", "step_00001000", "step_00002000"):
            write_wav(run / "samples" / folder / f"{clip}.wav")
    (run / "config.yaml").write_text("model:\n  name: waveglow # <script>\n", encoding="utf-8")
    return run


def written(run: Path) -> str:
    report.write_report(run, run / "report.html")
    return (run / "report.html").read_text(encoding="utf-8")


def test_headline_names_last_and_best_with_bits_and_step(run_dir):
    page = written(run_dir)
    assert re.search(r"Last held-out NLL</dt><dd>-4\.125 nats<small>9\.049 bits, per sample, step 2,000", page)
    assert re.search(r"Best held-out NLL</dt><dd>-4\.250 nats<small>8\.869 bits, per sample, step 1,500", page)
    assert "10 steps/s" in page
    assert "5.25 s/s" in page
    assert "0.06 h" in page  # 200 s
    assert "lower is better" in page


def test_clips_have_reference_newest_and_first_with_players_and_pictures(run_dir):
    page = written(run_dir)
    assert re.findall(r"<figcaption>([^<]+)</figcaption>", page) == ["Reference", "Step 2,000", "Step 500"] * 2
    players = re.findall(r'<audio controls [^>]*src="data:audio/wav;base64,([^"]+)"', page)
    pictures = re.findall(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)"', page)
    assert len(players) == len(pictures) == 6
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(players[0])))
    original, _ = soundfile.read(run_dir / "samples" / "reference" / "a.wav")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(audio, original, atol=1 / 32768)
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size[1] == 80


def test_the_page_fetches_nothing_and_escapes_what_it_shows(run_dir):
    page = written(run_dir)
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "resumed from &lt;step 600&gt; &amp; went on" in page
    assert "name: waveglow # &lt;script&gt;" in page


def test_curves_hold_training_and_held_out_points(run_dir):
    lines = re.findall(r'<polyline points="([^"]+)"', written(run_dir))
    assert [len(line.split()) for line in lines] == [20, 4]


def test_more_clips_than_shown_are_counted(run_dir):
    for index in range(5):
        write_wav(run_dir / "samples" / "step_00002000" / f"c{index}.wav")
    page = written(run_dir)
    assert page.count("<h3>") == 4
    assert "3 more clips" in page


def test_long_clips_are_cut_and_say_so(run_dir):
    write_wav(run_dir / "samples" / "reference" / "a.wav", seconds=40)
    assert "Reference (the first 30.0 s)" in written(run_dir)


def test_a_broken_clip_does_not_stop_the_report(run_dir):
    (run_dir / "samples" / "step_00002000" / "a.wav").write_bytes(b"RIFF")
    write_wav(run_dir / "samples" / "step_00000500" / "a.wav", seconds=0)
    page = written(run_dir)
    assert "Step 2,000: the file can't be read" in page
    assert "Step 500: the file can't be read" in page
    assert page.count("<audio") == 4


def test_unknown_keys_and_broken_lines_are_tolerated(run_dir):
    lines = ["{}", "[1]", "null", '{"kind": "tr{"kind": "train"}', '{"kind": "valid", "step": 9000, "nll_nats": NaN}']
    lines += [
        '{"kind": "weather", "step": 1}',
        '{"kind": "valid", "step": 9500, "nll_nats": -4.5, "mel_distance": 0.321}',
    ]
    with (run_dir / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(lines) + "\n")
    page = written(run_dir)
    assert "step 9,500" in page
    assert '<th scope="col">mel_distance</th>' in page
    assert "<td>0.321</td>" in page


def test_a_step_passed_twice_counts_once_by_its_newest_line(tmp_path):
    write_lines(tmp_path, valid_line(100, -1.0), valid_line(200, -9.0), valid_line(200, -2.0), valid_line(150, -1.5))
    steps = [
        (record["step"], record["nll_nats"])
        for record in run_parts.by_step(run_parts.records_of(tmp_path / "metrics.jsonl"), "valid")
    ]
    assert steps == [(100, -1.0), (150, -1.5), (200, -2.0)]


@pytest.mark.parametrize(
    ("seconds", "total"),
    [([10, 20, 35], 35), ([10, 20, 2, 12], 30), ([10, 20, 12, 22], 30)],
    ids=["one run", "resumed from zero", "resumed from the checkpoint's time"],
)
def test_trained_time_adds_up_over_resumes(seconds, total):
    lines = [train_line(i, elapsed_seconds=value) for i, value in enumerate(seconds)]
    assert run_parts.trained_seconds(lines) == total


@pytest.mark.parametrize("content", [None, "", '{"kind": "tra', '{"kind": "event", "step": 1, "what": "started"}\n'])
def test_a_run_without_metrics_is_one_clear_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content, encoding="utf-8")
    reason = "can't be read" if content is None else "no line of training or validation"
    with pytest.raises(ValueError, match=f"metrics.jsonl: .*{reason}"):
        report.write_report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_run_just_begun_has_a_report(tmp_path):
    write_lines(tmp_path, train_line(1))
    page = written(tmp_path)
    assert "no validation yet" in page
    assert "Too few validations" in page
    assert "No clips were synthesized yet" in page


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        (falling(0.05, scatter=0.01), "Improving"),
        (falling(0.05), "Improving"),
        (falling(0.0, scatter=0.01), "Flat"),
        (falling(0.0), "Flat"),
        (falling(-0.05, scatter=0.01), "Getting worse (overfitting)"),
        (falling(0.2, count=8) + [(9000 + 1000 * i, -5 + 0.05 * i) for i in range(4)], "Getting worse (overfitting)"),
        (list(enumerate([0.0, -5.0284, -5.1264, -5.1922, -5.2241, -5.1511, -4.971])), "Getting worse (overfitting)"),
        (list(enumerate([-3.0, -4.0, -5.0, -5.5, -5.1, -4.9, -4.85, -4.84, -4.86, -4.85])), "Getting worse (overfit"),
        (falling(0.0, scatter=0.01, count=8), "Flat"),
        (falling(0.05, count=4), "Improving"),
        (falling(0.05, count=3), "Too few validations to say"),
        ([], "Too few validations to say"),
    ],
)
def test_verdict(points, verdict):
    assert run_parts.trend(points).startswith(verdict)


def test_verdict_names_slope_and_best_checkpoint():
    assert "falls by 0.05 ± " in run_parts.trend(falling(0.05))
    assert "over the last 4 validations (steps 9,000 to 12,000)" in run_parts.trend(falling(0.05))
    worse = falling(0.2, count=8) + [(9000 + 1000 * i, -5 + 0.05 * i) for i in range(4)]
    assert "rises by 0.05 ± " in run_parts.trend(worse)
    assert "best checkpoint, step 8,000" in run_parts.trend(worse)


def test_verdict_names_the_best_weights_where_the_newest_are_worse(run_dir):
    assert "of step 1,500, are in best/: take them with -c RUN/best" in written(run_dir)
    write_lines(run_dir, *(valid_line(step, -step / 1000) for step in range(1000, 5000, 1000)))
    assert "RUN/best" not in written(run_dir)


def test_flat_runs_are_rarely_called_overfitted():
    draws = (np.random.default_rng(seed).normal(0, 1, 12) for seed in range(200))
    calls = [run_parts.trend(list(enumerate(draw.tolist()))) for draw in draws]
    assert sum(call.startswith("Getting worse") for call in calls) <= 20  # one in ten


def test_spectrogram_has_low_frequencies_at_the_bottom_and_is_bright_where_loud():
    mel = np.zeros((80, 50))
    mel[:10] = 1.0
    image = Image.open(io.BytesIO(figures.spectrogram_png(mel)))
    assert image.size == (50, 80)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels[-10:].min() >= 190
    assert pixels[:-10].max() <= 4


def test_spectrogram_limits_hold_for_all_pictures():
    quiet = figures.spectrogram_png(np.full((4, 4), -50.0), limits=(-60.0, 20.0))
    loud = figures.spectrogram_png(np.full((4, 4), 10.0), limits=(-60.0, 20.0))
    brightness = [np.asarray(Image.open(io.BytesIO(png)).convert("L")).mean() for png in (quiet, loud)]
    assert brightness[0] < 50 < 150 < brightness[1]


def test_spectrogram_refuses_a_waveform():
    with pytest.raises(ValueError, match=r"shape \(100,\)"):
        figures.spectrogram_png(np.zeros(100))


def test_chart_marks_the_lowest_point_where_it_is_drawn():
    svg = figures.line_chart_svg({"loss": [(0, 3.0), (10, 1.0), (20, 2.0)]}, x_label="step", y_label="nats")
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]
    mark = re.search(r'class="lowest" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert (float(mark[1]), float(mark[2])) == points[1]
    assert points[1][1] == max(y for _, y in points)  # SVG's y grows downwards
    assert "loss: lowest 1.000 at 10" in svg


def test_chart_of_scores_marks_the_highest():
    points = {"PESQ": [(0, 2.0), (4, 4.0), (8, 3.0)]}
    svg = figures.line_chart_svg(points, x_label="steps", y_label="PESQ", best="highest")
    assert "PESQ: highest 4.000 at 4" in svg
    x, y = (float(value) for value in re.search(r'class="highest" cx="([\d.]+)" cy="([\d.]+)"', svg).groups())
    corners = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]
    assert (x, y) == min(corners, key=lambda corner: corner[1])


def test_chart_thins_long_series_and_drops_spikes_but_says_so():
    curve = [(step, 1.0 + 0.001 * (step % 7)) for step in range(5000)]
    curve[2500] = (2500, 1e9)
    curve[2600] = (2600, float("nan"))
    svg = figures.line_chart_svg({"loss": curve}, x_label="step", y_label="nats")
    pixels = re.search(r'points="([^"]+)"', svg)[1].split()
    assert 300 < len(pixels) <= figures.POINTS_DRAWN
    assert "higher points not shown: 1<" in svg
    assert "nan" not in svg


def test_chart_tells_six_lines_apart_and_keeps_their_legend_above_them():
    curves = {name: [(0, 1.0 + number), (9, 0.5)] for number, name in enumerate("abcdef")}
    svg = figures.line_chart_svg(curves, x_label="step", y_label="bits")
    assert len(set(re.findall(r'polyline[^>]*stroke="(#\w+)"', svg))) == 6
    legend = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>[a-f]: lowest', svg)]
    highest = min(float(pair.split(",")[1]) for line in re.findall(r'points="([^"]+)"', svg) for pair in line.split())
    assert len(legend) == 6
    assert max(legend) + 12 < highest  # the height of a letter


def test_chart_leaves_out_a_line_that_towers_over_the_others():
    low = [(step, 1.0 + 0.001 * step) for step in range(100)]
    svg = figures.line_chart_svg({"low": low, "high": [(0, 1e6)]}, x_label="step", y_label="bits")
    assert svg.count("<polyline") == 1
    assert "higher points not shown: 1<" in svg


@pytest.mark.parametrize("points", [[(5, 2.0)], [(5, 0.0), (5, 0.0)], [(1, 7.0), (2, 7.0)]])
def test_chart_of_a_single_value_has_an_axis(points):
    svg = figures.line_chart_svg({"loss": points}, x_label="step", y_label="nats")
    assert "nan" not in svg
    assert "inf" not in svg


def test_chart_without_points_is_refused():
    with pytest.raises(ValueError, match="no finite points to draw in loss"):
        figures.line_chart_svg({"loss": [(1, float("nan"))]}, x_label="step", y_label="nats")
    svg = figures.line_chart_svg({"a<b": [(1, 1.0)]}, x_label="step", y_label="nats")
    assert "a&lt;b" in svg
    assert "a<b" not in svg


def test_ticks_are_round_and_inside():
    assert [label for _, label in figures.Axis(0, 60_000, 0, 1).ticks(6)] == [
        "0", "10,000", "20,000", "30,000", "40,000", "50,000", "60,000",
    ]  # fmt: skip
    assert [label for _, label in figures.Axis(-0.2, 0.2, 0, 1).ticks(4)] == ["-0.2", "-0.1", "0.0", "0.1", "0.2"]
