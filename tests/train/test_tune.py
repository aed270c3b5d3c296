"""The example of docs/hyperparameters.md, with Ray."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "hyperparameters.md"


@pytest.mark.slow
def test_the_documented_search_runs_on_two_workers(tmp_path):
    for name in ("ray", "hyperopt", "muon", "scib_metrics"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'scvi-cae[tune]'")
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "search.py").write_text(example)
    command = [sys.executable, "search.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert "4/4 (4 TERMINATED)" in result.stdout
    config, loss = result.stdout.splitlines()[-2:]
    assert "n_latent" in config
    assert 0 < float(loss) < 10


def test_the_message_without_ray_says_what_to_install():
    try:
        import ray  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("Ray is installed.")
    from scvi.autotune import run_autotune

    with pytest.raises(ModuleNotFoundError, match="ray.tune"):
        run_autotune()
