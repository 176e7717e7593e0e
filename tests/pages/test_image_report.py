"""What the report of an image run shows: results, not the data that lie in the run's directory."""

from waveglow.pages.pictures import results


def test_results_are_pictures_and_the_texts_beside_them(tmp_path):
    names = ["evaluation/evaluation.txt", "evaluation/reconstruction.png", "pictures/samples.png"]
    others = ["faces/list_attr_celeba.txt", "samples/step_00000001/samples.png", "data/a.png", "data/a.txt"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert results(tmp_path) == [tmp_path / name for name in names]
