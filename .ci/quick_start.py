"""The README's first lines of Python, run as they stand but on simulated data, to see that an installed package works.

What the snippet leaves behind is then looked at: the latents, the prediction, and the model when it is saved and loaded.
"""

import re
from pathlib import Path

import mudata
import numpy as np

import scvi_cae

readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
blocks = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
snippet = next(block for block in blocks if "import scvi_cae" in block)
# Real data would have to be downloaded.
snippet, replaced = re.subn(r"datasets\.scala2020\(\)", "datasets.simulate_patchseq()", snippet)
assert replaced == 1, snippet
print(snippet)

names = {}
exec(snippet, names)  # the README is the program here
mdata, model, ephys = (names[name] for name in ("mdata", "model", "ephys"))

assert np.isfinite(mdata.obsm["X_cae"]).all()
assert list(ephys.columns) == list(mdata["ephys"].var_names)

model.save("model", overwrite=True)
loaded = type(model).load("model", adata=False)
rna = mudata.MuData({"rna": mdata["rna"]})
np.testing.assert_allclose(
    loaded.predict("rna", "ephys", adata=rna), model.predict("rna", "ephys", adata=rna), rtol=1e-4, atol=1e-5
)
print(f"scvi_cae {scvi_cae.__version__}: the README's lines work.")
