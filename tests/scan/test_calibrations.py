from dataclasses import replace

from reft.filtering.filter import Filter
from tests.scan.test_scan import SETTINGS, scorer_of, teacher_folder

__all__ = ["teacher_folder"]


def test_the_calibration_is_scored_once_and_again_when_something_decides_otherwise(tmp_path, teacher_folder):
    scorer, scored = scorer_of(teacher_folder), []

    def calibrated(settings=SETTINGS, scorer=scorer):
        return Filter.calibrated(scorer, settings, kept_in=tmp_path / "kept", report=lambda *at: scored.append(at))

    first = calibrated().calibration
    assert scored
    scored.clear()
    assert calibrated().calibration == first
    stricter = calibrated(SETTINGS.model_copy(update={"fpr": 0.03})).calibration
    assert stricter.harmless == first.harmless
    assert not scored
    calibrated(SETTINGS.model_copy(update={"window": 16, "window_overlap": 8}))
    assert scored
    scored.clear()
    calibrated(scorer=replace(scorer, fingerprint="another"))
    assert scored


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path, teacher_folder):
    (tmp_path / "file").write_text("in the way")
    Filter.calibrated(scorer_of(teacher_folder), SETTINGS, kept_in=tmp_path / "file")
