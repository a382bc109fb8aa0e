# SPDX-License-Identifier: GPL-3.0-or-later
"""Many jobs at once: bad ones do not stop the rest, a killed run goes on, nothing twice, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import ROOT
from heads import made_up_head
from wav2sem_lipsync.operators import command_line
from wav2sem_lipsync.operators.batch import Batch
from wav2sem_lipsync.operators.batch_jobs import BatchJob
from wav2sem_lipsync.operators.batch_worker import MARK

GOOD, BAD = 5, 2
MORE = 60  # good jobs of a batch that is to be met at work: one takes 20 ms or so


@pytest.fixture
def batch(tmp_path: Path, speech_file: Path, toy_folder: Path) -> list[str]:
    """A command for five good jobs with two bad ones among them."""
    made_up_head()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    (tmp_path / "bad.wav").write_text("no sound")
    with (tmp_path / "jobs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audio", "output"])
        for number in range(GOOD + BAD):
            rows.writerow([speech_file if number not in (1, 3) else "bad.wav", f"out/{number}.blend"])
    command = [sys.executable, str(ROOT / "bake.py"), str(tmp_path / "shot.blend"), "--", "--model", str(toy_folder)]
    return [*command, "--object", "Head", "--jobs", str(tmp_path / "jobs.csv"), "--workers", "2"]


@pytest.fixture
def long_batch(batch: list[str], tmp_path: Path, speech_file: Path) -> list[str]:
    """`batch` with so many more good jobs that a test which sees its first answer is in time for the others."""
    with (tmp_path / "jobs.csv").open("a", newline="") as file:
        csv.writer(file).writerows([speech_file, f"out/{GOOD + BAD + number}.blend"] for number in range(MORE))
    return batch


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_bad_jobs_do_not_stop_the_rest_and_resume_repeats_nothing(batch: list[str], tmp_path: Path) -> None:
    done = subprocess.run(batch, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    found = lines(done.stdout)
    assert sorted(line["number"] for line in found) == [1, 2, 3, 4, 5, 6, 7]
    assert {line["number"] for line in found if not line["ok"]} == {2, 4}
    assert all(line["moves"] for line in found if line["ok"])
    assert "7/7 jobs" in done.stderr and "left" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n}.blend" for n in (0, 2, 4, 5, 6)]
    with (tmp_path / "jobs.csv.report.csv").open(newline="") as file:
        report = list(csv.DictReader(file))
    assert [row["status"] for row in report] == ["done", "failed", "done", "failed", "done", "done", "done"]
    assert "bad.wav" in report[1]["error"]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = subprocess.run([*batch, "--resume"], capture_output=True, text=True, timeout=300, check=False)
    assert [line["status"] for line in lines(again.stdout)].count("already done") == GOOD
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == stamps


def test_a_mouth_that_stays_still_is_told(batch: list[str], tmp_path: Path) -> None:
    bpy.data.objects["Head"].show_only_shape_key = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    done = subprocess.run([*batch, "--only", "1"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "In 1 the mouth does not move; the report says why." in done.stderr
    with (tmp_path / "jobs.csv.1.report.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["moves"] == "False" and "pinned" in row["sentence"]


def test_bytes_that_are_no_text_between_the_answers(tmp_path: Path) -> None:
    """Add-ons and drivers print what they like."""
    answer = MARK + json.dumps({"status": "done"})
    noise = "import sys; sys.stdin.readline(); sys.stdout.buffer.write(b'\\xff\\xfe\\n')"
    command = [sys.executable, "-c", f"{noise}; print({answer!r}, flush=True); sys.stdin.readline()"]
    job = BatchJob(1, audio="a.wav", output=str(tmp_path / "a.blend"))
    assert Batch([job], command, 1, tmp_path / "report.csv", False).run() == 0


@pytest.mark.parametrize("half", ["{", '{"status": "do', "{}}"])
def test_half_an_answer_is_a_crash_and_hangs_no_batch(half: str, tmp_path: Path) -> None:
    """A worker may be killed while it writes, as for its memory; another one takes the jobs that are left."""
    loop = f"for line in sys.stdin: print({MARK!r} + ({half!r} if '1.wav' in line else good), flush=True)"
    command = [sys.executable, "-c", f"import json, sys\ngood = json.dumps({{'status': 'done'}})\n{loop}"]
    jobs = [BatchJob(number, audio=f"{number}.wav", output=str(tmp_path / f"{number}.blend")) for number in (1, 2)]
    work = Batch(jobs, command, 1, tmp_path / "report.csv", False)
    thread = threading.Thread(target=work._work)
    work._waiting.extend(jobs)
    thread.start()
    thread.join(30)
    still, work._interrupts = thread.is_alive(), 2
    thread.join()
    for worker in work._workers:
        worker.stop()
    assert not still
    assert [work._lines[number]["status"] for number in (1, 2)] == ["failed", "done"]
    assert "Blender ended in the middle" in work._lines[1]["error"]


def test_the_report_names_the_cache_that_an_output_plays(tmp_path: Path) -> None:
    """Earlier caches are kept, and who tidies up has to know which one counts."""
    answer = MARK + json.dumps({"status": "done", "cache": "lip_sync/Head-2.pc2"})
    command = [sys.executable, "-c", f"import sys; sys.stdin.readline(); print({answer!r}, flush=True)"]
    job = BatchJob(1, audio="a.wav", output=str(tmp_path / "a.blend"))
    assert Batch([job], command, 1, tmp_path / "report.csv", False).run() == 0
    with (tmp_path / "report.csv").open(newline="") as file:
        assert [row["cache"] for row in csv.DictReader(file)] == ["lip_sync/Head-2.pc2"]


OBEDIENT = f"""
import json, pathlib, sys, time
for line in sys.stdin:
    job = json.loads(line)
    time.sleep(job["start_frame"])
    made, status = pathlib.Path(job["output"]), "done"
    if not pathlib.Path(job["blend"]).exists() or job["style"] == "bad":
        status = "failed"
    else:
        made.write_text("made")
    print({MARK!r} + json.dumps({{"status": status, "error": "no"}}), flush=True)
"""  # a worker that waits for so many seconds as its start frame says


def in_order(tmp_path: Path, resume: bool = False, bad: str = "") -> dict[int, str]:
    """How two workers do a job, one that opens what the first one writes, and one that opens what that one does."""
    if not resume:
        (tmp_path / "shot.blend").touch()
    chain = ["shot.blend", "1.blend", "2.blend", "3.blend"]
    jobs = [
        BatchJob(number, blend=str(tmp_path / chain[number - 1]), output=str(tmp_path / chain[number]),
                 start_frame=0.3 if number == 1 else 0.0, style=bad if number == 1 else "")
        for number in (1, 2, 3)
    ]  # fmt: skip
    work = Batch(jobs, [sys.executable, "-c", OBEDIENT], 2, tmp_path / "report.csv", resume)
    work.run()
    return {number: line["status"] for number, line in work._lines.items()}


def test_a_job_waits_for_the_one_that_writes_what_it_opens(tmp_path: Path) -> None:
    assert in_order(tmp_path) == {1: "done", 2: "done", 3: "done"}
    assert set(in_order(tmp_path, resume=True).values()) == {"already done"}
    # The file of yesterday is not what the line means.
    assert in_order(tmp_path, bad="bad") == {1: "failed", 2: "failed", 3: "failed"}


def test_a_resumed_job_follows_what_it_opens(tmp_path: Path) -> None:
    in_order(tmp_path)
    (tmp_path / "1.blend").unlink()
    assert in_order(tmp_path, resume=True) == {1: "done", 2: "done", 3: "done"}


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_fewer_workers_than_asked_for(allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may allow no more processes or open files."""
    (tmp_path / "shot.blend").touch()
    jobs = [BatchJob(number, str(tmp_path / "shot.blend"), output=str(tmp_path / f"{number}.blend"), start_frame=0.0)
            for number in (1, 2, 3, 4)]  # fmt: skip
    started: list[Any] = []

    def start(*arguments: Any, **settings: Any) -> Any:
        if len(started) == allowed:
            raise OSError(24, "Too many open files")
        started.append(popen(*arguments, **settings))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    work = Batch(jobs, [sys.executable, "-c", OBEDIENT], 3, tmp_path / "report.csv", False)
    assert work.run() == (0 if allowed else 1)
    assert len(started) == allowed
    told = {line.get("error", "") for line in work._lines.values() if line["status"] == "failed"}
    assert all("cannot be started (Too many open files)" in error for error in told) and bool(told) == (not allowed)


def test_a_log_that_takes_no_more_lines_stops_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of a log may be full, its terminal closed."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs Linux's /dev/full")
    (tmp_path / "shot.blend").touch()
    jobs = [BatchJob(number, str(tmp_path / "shot.blend"), output=str(tmp_path / f"{number}.blend"), start_frame=0.0)
            for number in (1, 2, 3)]  # fmt: skip
    for name in ("stdout", "stderr"):
        log = full.open("w", buffering=1)
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, log)
            code = Batch(jobs, [sys.executable, "-c", OBEDIENT], 1, tmp_path / "report.csv", False).run()
        with suppress(OSError):
            log.close()
        assert code == (1 if name == "stdout" else 0)
        with (tmp_path / "report.csv").open(newline="") as file:
            assert [row["status"] for row in csv.DictReader(file)] == ["done"] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_ended_in_the_middle(name: str, long_batch: list[str], tmp_path: Path) -> None:
    running = subprocess.Popen(long_batch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert running.stdout is not None
    while '"ok": true' not in running.stdout.readline():
        assert running.poll() is None
    os.kill(running.pid, getattr(signal, name))
    rest = running.stdout.read()
    code = running.wait(timeout=120)
    if name != "SIGKILL":
        assert code == 1
        assert "not run" in {line["status"] for line in lines(rest)}
    for path in (tmp_path / "out").glob("[0-9]*.blend"):
        assert path.read_bytes()[:4] in (b"BLEN", b"\x28\xb5\x2f\xfd")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9]*.blend")}
    (tmp_path / "out" / ".6.4711.blend@").touch()  # what Blender leaves when it is killed while it saves
    again = subprocess.run([*long_batch, "--resume"], capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 1
    statuses = [line["status"] for line in lines(again.stdout)]
    assert statuses.count("done") + statuses.count("already done") == GOOD + MORE and statuses.count("failed") == BAD
    assert statuses.count("already done") >= 1
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert len(after) == GOOD + MORE and before.items() <= after.items()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for workers in Linux's /proc")
def test_resumed_run_waits_for_workers_that_a_kill_left_behind(long_batch: list[str], tmp_path: Path) -> None:
    running = subprocess.Popen(long_batch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert running.stdout is not None
    while '"ok": true' not in running.stdout.readline():
        assert running.poll() is None
    workers = [int(pid) for task in Path(f"/proc/{running.pid}/task").iterdir() for pid in _children(task)]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    running.kill()
    running.wait()
    made = tmp_path / "out"
    before = {path.name for path in made.iterdir()}
    again = subprocess.Popen([*long_batch, "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    while "Waiting for an earlier run" not in again.stderr.readline():
        assert again.poll() is None
    assert {path.name for path in made.iterdir()} == before
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    out, _ = again.communicate(timeout=300)
    assert sum(line["ok"] for line in lines(out)) == GOOD + MORE
    assert len(list(made.iterdir())) == GOOD + MORE


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize(("fate", "code"), [("killed", 0), ("confused", 1)])
def test_a_worker_ends_whatever_becomes_of_its_batch(
    fate: str, code: int, tmp_path: Path, speech_file: Path, toy_folder: Path
) -> None:
    """Blender 4.5's wheel waits for ever where Python ends by itself after a bake."""
    made_up_head()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    places = str(tmp_path / "shot.blend"), str(speech_file), "Head", str(tmp_path / "a.blend"), str(toy_folder)
    job = BatchJob(1, *places)
    command = [sys.executable, str(ROOT / "bake.py"), "--", "--worker"]
    answers, into = os.pipe()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=into, stderr=subprocess.DEVNULL, text=True) as worker:
        os.close(into)
        if fate == "killed":
            os.close(answers)
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(asdict(job)) + "\n" + "no job\n" * (fate == "confused"))
        worker.stdin.flush()
        try:
            assert worker.wait(timeout=60) == code
        finally:
            worker.kill()
    if fate == "confused":
        os.close(answers)


def test_a_job_does_not_read_the_jobs_behind_it() -> None:
    """What an add-on starts may read stdin; and on Windows a library that is loaded waits for who reads a pipe."""
    reader = "subprocess.run([sys.executable, '-c', 'import sys; sys.stdin.read()'])"
    serve = f"runpy.run_path({str(ROOT / 'operators' / 'batch_worker.py')!r})['serve']"
    script = f"import runpy, subprocess, sys\n{serve}(lambda job: {reader} and job)"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(b"1\n2\n")
        worker.stdin.flush()
        late = threading.Timer(10, worker.stdin.close)
        late.start()
        answers = [line for line in (worker.stdout.readline() for _ in range(4)) if line.strip()]
        late.cancel()
    assert [int(answer.removeprefix(MARK.encode())) for answer in answers] == [1, 2]


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def test_output_in_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job = BatchJob(1, blend="a.blend", audio="a.wav", object="Head", output=str(tmp_path / "file" / "deep" / "a.blend"))
    assert "cannot be written; choose a folder" in command_line._answer(asdict(job))["error"]


def report_of(listed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the report of a list goes whose only job has a problem."""
    monkeypatch.chdir(listed.parent)
    before = set(listed.parent.iterdir())
    assert command_line.main(["--jobs", str(listed)]) == 1
    (report,) = [path for path in listed.parent.iterdir() if path not in before and path.suffix == ".csv"]
    return report


def test_lists_of_like_names_have_reports_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.csv").write_text("audio\na.wav\n")
    (tmp_path / "lines.json").write_text('[{"audio": "a.wav"}]')
    for folder in ("lines", "ep.01", "ep.02"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").touch()
    for name in ("lines.csv", "lines.json", "lines", "ep.01", "ep.02"):
        assert report_of(tmp_path / name, monkeypatch).name == f"{name}.report.csv"


@pytest.mark.parametrize("name", ["jobs.csv", "shot.blend", "a.wav", "out/a.blend", "out/../jobs.csv", "out"])
def test_report_replaces_nothing_else(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jobs.csv").write_text("blend,audio,object,output\nshot.blend,a.wav,Head,out/a.blend\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["--jobs", str(tmp_path / "jobs.csv"), "--report", str(tmp_path / name)])
    assert "choose another name" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.csv", "out"]


def test_a_whole_disk_as_the_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing lies beside the root, where the report would go."""
    monkeypatch.setattr(command_line.batch_jobs, "read_jobs", lambda *_: [BatchJob(1, problem="None.")])
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["--jobs", Path.cwd().anchor])
    assert "say with --report where it goes" in capsys.readouterr().err


def test_wrong_usage_of_a_batch(batch: list[str], tmp_path: Path) -> None:
    for change in (
        ["--only", "9"], ["--only", ""], ["--workers", "0"], ["--jobs", str(tmp_path / "none.csv")],
        ["--jobs", "n" * 300],
    ):  # fmt: skip
        done = subprocess.run([*batch, *change], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 2, change
        assert "Traceback" not in done.stderr
