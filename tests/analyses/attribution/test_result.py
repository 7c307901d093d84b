import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from analyses.attribution import Attribution, explain
from tests.analyses.attribution.networks import maskmtl


@pytest.fixture(scope="module")
def attribution():
    torch.manual_seed(0)
    model, _ = maskmtl()
    return explain(model, torch.rand(3, 1, 48, 48), method="occlusion", window=12)


def test_a_result_comes_back_as_it_was_saved(attribution, tmp_path):
    attribution.save(tmp_path / "maps.safetensors")
    loaded = Attribution.load(tmp_path / "maps.safetensors")
    for part in ("values", "index", "logits"):
        saved, read = getattr(attribution, part), getattr(loaded, part)
        assert set(saved) == set(read)
        for task in saved:
            np.testing.assert_array_equal(saved[task], read[task])
            assert saved[task].dtype == read[task].dtype
    for part in ("method", "layers", "versions", "unit", "options"):
        assert getattr(attribution, part) == getattr(loaded, part)
    assert loaded.options == {"window": 12} and set(loaded.versions) == {"maskmtl", "torch"}
    assert [path.name for path in tmp_path.iterdir()] == ["maps.safetensors"]


@pytest.mark.parametrize("kind", ["missing", "text", "other"])
def test_a_file_of_something_else_is_refused(kind, tmp_path):
    path = tmp_path / "maps.safetensors"
    if kind == "text":
        path.write_text("no tensors")
    if kind == "other":
        save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"path should be a file of Attribution\.save"):
        Attribution.load(path)


def test_of_an_array_among_the_options_the_shape_is_kept(tmp_path):
    model, images = maskmtl()
    regions = np.full((2, 2, 48, 48), 0.5, np.float32)
    explain(model, images, method="region_ablation", regions=regions).save(tmp_path / "maps.safetensors")
    assert Attribution.load(tmp_path / "maps.safetensors").options == {"regions": "array (2, 2, 48, 48)"}
