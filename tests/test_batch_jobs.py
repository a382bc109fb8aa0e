# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of jobs and the journal of a batch; without Blender (the modules know nothing of bpy)."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


def load(name: str) -> Any:
    """A module of operators/ without running the __init__ of a package, which needs bpy."""
    for package, folder in (("batch_modules", ROOT), ("batch_modules.operators", ROOT / "operators")):
        if package not in sys.modules:
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = [str(folder)]
    return importlib.import_module(f"batch_modules.operators.{name}")


jobs, journal = load("batch_jobs"), load("batch_journal")
DEFAULTS = {"blend": "shot.blend", "object": "Head", "output": "{name}.blend"}


def test_csv_lines_take_defaults_and_lie_beside_the_list(tmp_path: Path) -> None:
    listed = tmp_path / "jobs.csv"
    listed.write_text("audio,output,start_frame,nla\na.wav,out/a.blend,12.5,yes\nb.wav,,,\n", encoding="utf-8-sig")
    first, second = jobs.read_jobs(str(listed), DEFAULTS)
    assert (first.audio, first.output) == (str(tmp_path / "a.wav"), str(tmp_path / "out/a.blend"))
    assert (first.start_frame, first.nla, first.object) == (12.5, True, "Head")
    assert second.output == str(Path.cwd() / "b.blend") and second.start_frame == 1.0 and not second.problem


def test_folder_with_a_naming_rule(tmp_path: Path) -> None:
    (tmp_path / "lines" / "act 1").mkdir(parents=True)
    for name in ("act 1/b.wav", "act 1/._b.wav", "a.flac", "notes.txt"):
        (tmp_path / "lines" / name).touch()
    found = jobs.read_jobs(str(tmp_path / "lines"), DEFAULTS | {"output": "/baked/{folder}/{number}_{name}.blend"})
    assert [Path(job.output) for job in found] == [Path("/baked/1_a.blend"), Path("/baked/act 1/2_b.blend")]


def test_bad_lines_are_jobs_with_a_problem(tmp_path: Path) -> None:
    lines = [
        {"audio": "a.wav", "tolerance": "much"}, {"output": "x.blend"}, {"audio": "a.wav", "output": "{nonsense}"},
        {"audio": "a.wav", "nla": "perhaps"}, {"audio": "a.wav", "output": "same.blend"},
        {"audio": "b.wav", "output": "same.blend"}, {"audio": ["list"], "style": {"a": 1}},
        {"audio": "a.wav", "nla": "yes", "slot": "yes"},
    ]  # fmt: skip
    (tmp_path / "jobs.json").write_text(json.dumps(lines))
    problems = [job.problem for job in jobs.read_jobs(str(tmp_path / "jobs.json"), DEFAULTS)]
    assert [bool(problem) for problem in problems[:6]] == [True, True, True, True, False, True]
    assert "exclude" in problems[7]
    assert "no audio" in problems[1] and "Job 5 writes" in problems[5]


@pytest.mark.parametrize(
    "line",
    [
        {"start_frame": [1]}, {"start_frame": 10**400}, {"start_frame": float("nan")}, {"start_frame": 3_000_000},
        {"start_frame": "-1e9"}, {"tolerance": -1}, {"tolerance": "inf"}, {"within": 0}, {"output": {"a": 1}},
        {"output": "{folder:>10}"}, {"output": "{name[a]}"}, {"output": "{name:>9999999999}"}, {"output": "{name!r}"},
        {"output": "{name.__class__}"}, {"output": "{}"}, {"output": "{name"}, {"output": "a\0b.blend"},
        {"audio": "a\0b.wav"}, {"audio": "\ud800.wav"}, {"object": "\ud800"}, {"blend": "\0"}, {"model": "\ud800"},
    ],
)  # fmt: skip
def test_bad_line_leaves_the_others_alone(line: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps([{"audio": "a.wav"}, {"audio": "b.wav"} | line, {"audio": "c.wav"}]))
    found = jobs.read_jobs(str(tmp_path / "jobs.json"), DEFAULTS)
    assert [bool(job.problem) for job in found] == [False, True, False]
    assert found[1].problem.startswith("The job is not well written")
    assert all(job.key for job in found if not job.problem)


def test_unquoted_comma_is_the_problem_of_its_line(tmp_path: Path) -> None:
    listed = tmp_path / "jobs.csv"
    listed.write_text('audio,output\nwell, yes.wav,a.blend\n"well, no.wav",b.blend\nc.wav,c.blend,\n,,\n,\n')
    first, *others = jobs.read_jobs(str(listed), DEFAULTS)
    assert "more cells than the heading" in first.problem
    assert [(Path(job.audio).name, job.problem) for job in others] == [("well, no.wav", ""), ("c.wav", "")]


def test_line_breaks_within_a_cell(tmp_path: Path) -> None:
    listed = tmp_path / "jobs.csv"
    listed.write_text('audio,object\na\u2028b.wav,"two\nlines"\n', encoding="utf-8")
    (job,) = jobs.read_jobs(str(listed), DEFAULTS)
    assert (Path(job.audio).name, job.object) == ("a\u2028b.wav", "two\nlines")


def test_output_under_two_spellings_is_one(tmp_path: Path) -> None:
    lines = [{"audio": "a.wav", "output": "o/x.blend"}, {"audio": "b.wav", "output": "o/../o/x.blend"}]
    (tmp_path / "jobs.json").write_text(json.dumps(lines))
    assert "Job 1 writes" in jobs.read_jobs(str(tmp_path / "jobs.json"), DEFAULTS)[1].problem


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_places_through_links_are_one(tmp_path: Path) -> None:
    """A show's folder often has a short name that is a link."""
    (tmp_path / "disk" / "shots").mkdir(parents=True)
    (tmp_path / "show").symlink_to("disk/shots")
    (tmp_path / "latest.blend").symlink_to("disk/shots/a.blend")
    lines = [
        {"output": "disk/shots/a.blend"}, {"output": "show/a.blend"}, {"output": "show/../a.blend"},
        {"output": "disk/a.blend"}, {"output": "b.blend", "blend": "latest.blend"}, {"output": "latest.blend"},
        {"output": "c.blend", "blend": "late.blend"}, {"output": "show/late.blend"},
    ]  # fmt: skip
    (tmp_path / "late.blend").symlink_to("disk/shots/late.blend")
    (tmp_path / "jobs.json").write_text(json.dumps([{"audio": "a.wav"} | line for line in lines]))
    found = jobs.read_jobs(str(tmp_path / "jobs.json"), DEFAULTS)
    assert [job.number for job in found if "writes" in job.problem] == [2, 4]
    assert [job.number for job in found if "over" in job.problem] == [6, 8]
    assert jobs.writers(found) == {5: 1}


@pytest.mark.parametrize(("system", "alike"), [("darwin", True), ("linux", False)])
def test_names_that_a_mac_takes_for_one(
    system: str, alike: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disks take no notice of case, nor of how an accent is composed."""
    for name in ("Caf\u00e9.wav", "cafe\u0301.flac"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "platform", system)
    found = jobs.read_jobs(str(tmp_path), DEFAULTS)
    assert [bool(job.problem) for job in found] == [False, alike]


def test_folder_within_the_batch_however_it_is_written(tmp_path: Path) -> None:
    """Output follows the sound's folder, but never out of its own by the dots of a sound's path."""
    audio = ["ep/../act 1/a.wav", "../voices/b.wav", str(tmp_path / "list" / "act 2" / "c.wav")]
    (tmp_path / "list").mkdir()
    lines = [{"audio": name, "output": "baked/{folder}/{name}.blend"} for name in audio]
    (tmp_path / "list" / "jobs.json").write_text(json.dumps(lines))
    found = jobs.read_jobs(str(tmp_path / "list" / ".." / "list" / "jobs.json"), DEFAULTS)
    places = [os.path.relpath(job.output, tmp_path / "list" / "baked") for job in found]
    assert places == [os.path.join("act 1", "a.blend"), "b.blend", os.path.join("act 2", "c.blend")]


def test_what_other_jobs_read_is_not_written_over(tmp_path: Path) -> None:
    """A sound named as the shot, and a rule that names outputs after sounds, would replace the shot by a bake of it."""
    for name in ("a.wav", "shot.wav", "z.wav"):
        (tmp_path / name).touch()
    rule = DEFAULTS | {"blend": str(tmp_path / "shot.blend"), "output": str(tmp_path / "{name}.blend")}
    problems = [job.problem for job in jobs.read_jobs(str(tmp_path), rule)]
    assert "which job 1 reads" in problems[1] and not problems[0] and not problems[2]
    (tmp_path / "a.wav").unlink()
    problems = [job.problem for job in jobs.read_jobs(str(tmp_path), rule)]
    assert "which job 2 reads" in problems[0] and not problems[1]


def test_a_job_may_go_on_from_another_and_write_over_its_own_file(tmp_path: Path) -> None:
    lines = [{"blend": "a.blend", "output": "b.blend"}, {"blend": "b.blend", "output": "c.blend"}]
    lines.append({"blend": "own.blend", "output": "own.blend"})
    (tmp_path / "jobs.json").write_text(json.dumps([{"audio": "a.wav"} | line for line in lines]))
    assert not any(job.problem for job in jobs.read_jobs(str(tmp_path / "jobs.json"), DEFAULTS))
    lines[0], lines[1] = lines[1], lines[0]
    (tmp_path / "jobs.json").write_text(json.dumps([{"audio": "a.wav"} | line for line in lines]))
    assert [bool(job.problem) for job in jobs.read_jobs(str(tmp_path / "jobs.json"), DEFAULTS)] == [False, True, False]


def test_folder_called_like_a_field(tmp_path: Path) -> None:
    (tmp_path / "{1}").mkdir()
    (tmp_path / "{1}" / "jobs.json").write_text('[{"audio": "a.wav", "output": "{name}.blend"}]')
    (job,) = jobs.read_jobs(str(tmp_path / "{1}" / "jobs.json"), DEFAULTS)
    assert (job.output, job.problem) == (str(tmp_path / "{1}" / "a.blend"), "")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are Unicode")
def test_file_name_that_is_no_text_can_be_a_job(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xff.wav")).touch()
    (job,) = jobs.read_jobs(str(tmp_path), DEFAULTS)
    assert not job.problem and job.key and os.fsencode(job.output).endswith(b"b\xff.blend")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("jobs.csv", "audio,colour\na.wav,red\n", "colour"),
        ("jobs.csv", "audio\n", "no jobs"),
        ("jobs.csv", "", "no jobs"),
        ("jobs.csv", "audio,output\n,,\n", "no jobs"),
        ("jobs.csv", f'audio\n"{"a" * 200_000}', "no CSV"),
        ("jobs.json", "[" * 100_000, "no JSON"),
        ("jobs.json", "{", "no JSON"),
        ("jobs.json", r'[{"audio": "lines\a.wav"}]', "are backslashes in it doubled"),
        ("jobs.json", '{"audio": "a.wav"}', "list of objects"),
        ("jobs.csv", "\x00\x01", "no jobs"),
        ("jobs.csv", "audio;object\na.wav;Head\n", "save it with commas"),
        ("jobs.csv", "audio\tobject\na.wav\tHead\n", "save it with commas"),
        ("jobs.csv", "audio,object,audio\na.wav,Head,\n", "two columns 'audio'"),
        ("jobs.csv", 'audio\n"a.wav\nb.wav\nc.wav\n', "never closed"),
        ("jobs.csv", "audio\n\udce4.wav\n", "save it as “CSV UTF-8”"),
    ],
)
def test_list_that_cannot_be_used(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(jobs.JobListError, match=words):
        jobs.read_jobs(str(tmp_path / name), DEFAULTS)
    with pytest.raises(jobs.JobListError, match="cannot be read"):
        jobs.read_jobs(str(tmp_path / "none.csv"), DEFAULTS)


def test_ranges() -> None:
    assert jobs.choose_numbers("1-3,7", 9) == {1, 2, 3, 7}
    for text in ("", "0", "3-", "3-1", "1-10", "a", "-2", "1-3,5-4", "1-600000000000"):
        with pytest.raises(jobs.JobListError):
            jobs.choose_numbers(text, 9)


def make_job(folder: Path) -> Any:
    (folder / "a.wav").write_text("sound")
    return jobs.BatchJob(1, audio=str(folder / "a.wav"), output=str(folder / "a.blend"))


def test_journal_knows_what_is_finished(tmp_path: Path) -> None:
    job, path = make_job(tmp_path), tmp_path / "journal"
    book = journal.Journal(path, keep=True)
    assert book.finished(job) is None
    book.start(job)
    book.close()
    assert journal.Journal(path, keep=True).finished(job) is None  # killed before the output was renamed
    Path(job.output).write_text("result")
    assert journal.Journal(path, keep=True).finished(job) == {}  # killed between the rename and the line
    book = journal.Journal(path, keep=True)
    book.done(job, {"status": "done", "keys": 7})
    book.close()
    with path.open("a") as file:
        file.write('{"done": "cut o')
    assert journal.Journal(path, keep=True).finished(job) == {"status": "done", "keys": 7}
    (tmp_path / "a.wav").write_text("another sound")
    assert journal.Journal(path, keep=True).finished(job) is None  # the speech changed
    make_job(tmp_path)
    assert journal.Journal(path, keep=False).finished(job) is None  # no --resume: everything anew


def test_speech_that_changes_while_it_is_baked_is_baked_again(tmp_path: Path) -> None:
    """A take is replaced in the middle of the night; the journal must not say of the old one that it is the new."""
    job, path = make_job(tmp_path), tmp_path / "journal"
    book = journal.Journal(path, keep=True)
    book.start(job)
    Path(job.output).write_text("of the first take")
    (tmp_path / "a.wav").write_text("the second take")
    book.done(job, {"status": "done"})
    book.close()
    assert journal.Journal(path, keep=True).finished(job) is None


def test_a_job_that_writes_over_its_own_file_is_done_once(tmp_path: Path) -> None:
    job, path = replace(make_job(tmp_path), blend=str(tmp_path / "a.blend")), tmp_path / "journal"
    Path(job.output).write_text("shot")
    book = journal.Journal(path, keep=True)
    book.start(job)
    Path(job.output).write_text("shot that speaks")
    book.done(job, {"status": "done"})
    book.close()
    assert journal.Journal(path, keep=True).finished(job) == {"status": "done"}


def test_output_whose_vertex_cache_is_gone_is_made_again(tmp_path: Path) -> None:
    job, cache = make_job(tmp_path), tmp_path / "Head-1.pc2"
    Path(job.output).write_text("plays it")
    cache.touch()
    book = journal.Journal(tmp_path / "journal", keep=True)
    book.start(job)
    Path(job.output).write_text("plays it now")
    book.done(job, {"status": "done", "cache": str(cache)})
    book.close()
    assert journal.Journal(tmp_path / "journal", keep=True).finished(job) is not None
    cache.unlink()
    assert journal.Journal(tmp_path / "journal", keep=True).finished(job) is None


def test_output_from_an_earlier_run_is_not_taken_for_done(tmp_path: Path) -> None:
    job, path = make_job(tmp_path), tmp_path / "journal"
    Path(job.output).write_text("yesterday's")
    book = journal.Journal(path, keep=True)
    book.start(job)
    book.close()
    assert journal.Journal(path, keep=True).finished(job) is None


def test_output_that_was_moved_after_a_failure_is_not_taken_for_done(tmp_path: Path) -> None:
    job, path = make_job(tmp_path), tmp_path / "journal"
    Path(job.output).write_text("yesterday's")
    book = journal.Journal(path, keep=True)
    book.start(job)
    book.failed(job)
    book.close()
    Path(job.output).write_text("yesterday's, from the backup")
    assert journal.Journal(path, keep=True).finished(job) is None


@pytest.mark.parametrize("end", ["done", "killed", "failed"])
def test_output_that_other_options_have_made_since_is_not_taken_for_done(end: str, tmp_path: Path) -> None:
    """The list changes and changes back; a job that fails leaves what was there."""
    job, path = make_job(tmp_path), tmp_path / "journal"
    line = {"status": "done", "keys": 7}
    for each, fate in ((job, "done"), (replace(job, style="broad"), end)):
        book = journal.Journal(path, keep=True)
        book.start(each)
        if fate == "failed":
            book.failed(each)
        else:
            Path(job.output).write_text(f"in style {each.style}")
        if fate == "done":
            book.done(each, line)
        book.close()
    assert journal.Journal(path, keep=True).finished(job) == (line if end == "failed" else None)


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def answering(line: dict[str, Any], before: str = "") -> list[str]:
    """A worker's command: it says `line` to every job."""
    answer = load("batch_worker").MARK + json.dumps(line)
    loop = f"for job in sys.stdin:\n {before or 'pass'}\n print({answer!r}, flush=True)"
    return [sys.executable, "-c", f"import os, sys\n{loop}"]


def test_full_disk_for_the_journal_is_told_and_stops_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.fsync", full)
    batch = load("batch").Batch([make_job(tmp_path)], answering({"status": "done"}), 1, tmp_path / "a.csv", False)
    assert batch.run() == 1
    error = capsys.readouterr().err
    assert "a.csv.journal” cannot be written (No space left on device)" in error and "1 done" in error


def test_full_disk_for_the_report_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.csv").write_text("yesterday's")
    monkeypatch.setattr("os.replace", full)
    batch = load("batch").Batch([make_job(tmp_path)], answering({"status": "done"}), 1, tmp_path / "report.csv", False)
    assert batch.run() == 1
    error = capsys.readouterr().err
    assert "report.csv” cannot be written" in error and "older" in error and "1 done" in error
    assert "Report:" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "report.csv", "report.csv.journal"]


def test_crashed_worker_leaves_nothing_half_written(tmp_path: Path) -> None:
    job, half = make_job(tmp_path), tmp_path / f".a.{os.getpid()}.blend@"
    crash = f"open({str(half)!r}, 'w').close(); os._exit(11)"
    assert load("batch").Batch([job], answering({}, crash), 1, tmp_path / "report.csv", False).run() == 1
    assert not half.exists()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_that_no_stream_can_encode(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    bad = jobs.BatchJob(1, audio="日本\udcff\ud800\0.wav", problem="It is “日本”.")
    good = jobs.BatchJob(2, audio="日本\udcff.wav", output=str(tmp_path / "日本\udcff.blend"))
    command = answering({"status": "done"}, f"open({good.output!r}, 'w').close()")
    for resume, status in ((False, "done"), (True, "already done")):
        assert load("batch").Batch([bad, good], command, 1, tmp_path / "report.csv", resume).run() == 1
        assert r"日本\udcff.wav" in (tmp_path / "report.csv").read_text(encoding="utf-8")
        line = json.loads(out.buffer.getvalue().splitlines()[-1])
        assert (line["audio"], line["status"]) == (good.audio, status)


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_journal_is_held_until_the_last_worker_has_ended(tmp_path: Path) -> None:
    """A killed batch leaves workers behind for a moment; nobody may go on before they are gone."""
    path = tmp_path / "journal"
    book = journal.Journal(path, keep=False)
    with pytest.raises(BlockingIOError, match="another batch"):
        journal.Journal(path, keep=False, patience=0.1)
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[book.lock])
    book.close()
    with pytest.raises(BlockingIOError, match="another batch"):
        journal.Journal(path, keep=True, patience=0.1)
    worker.communicate(b"\n")
    journal.Journal(path, keep=True, patience=0.1).close()


def test_batch_runs_where_a_program_that_is_no_python_handles_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Blender: the handler that was there is None to Python, and cannot be set again."""
    handlers: list[Any] = []

    def of_blender(number: int, handler: Any) -> None:
        if handler is None:
            raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object")
        handlers.append(handler)

    monkeypatch.setattr(signal, "signal", of_blender)
    bad = jobs.BatchJob(1, problem="The job has no audio.")
    assert load("batch").Batch([bad], [], 1, tmp_path / "report.csv", resume=False).run() == 1
    assert handlers[2:] == [signal.SIG_DFL, signal.SIG_DFL] and "no audio" in (tmp_path / "report.csv").read_text()
