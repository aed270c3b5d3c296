"""The README's quick start on simulated data, to see that an installed package works."""

import mudata
import numpy as np
import scanpy as sc

import scvi_cae

mdata = scvi_cae.datasets.simulate_patchseq()
scvi_cae.CoupledAE.setup_mudata(mdata)
model = scvi_cae.CoupledAE(mdata)
model.train(enable_progress_bar=False)
model.write_latent(mdata)
assert np.isfinite(mdata.obsm["X_cae"]).all()

ephys = model.predict(source="rna", target="ephys")
assert list(ephys.columns) == list(mdata["ephys"].var_names)

sc.pp.neighbors(mdata, use_rep="X_cae")
sc.tl.umap(mdata)

model.save("model", overwrite=True)
loaded = scvi_cae.CoupledAE.load("model", adata=False)
alone = loaded.predict("rna", "ephys", adata=mudata.MuData({"rna": mdata["rna"]}))
np.testing.assert_allclose(alone, ephys.loc[alone.index], rtol=1e-4, atol=1e-5)
print(f"scvi_cae {scvi_cae.__version__}: the quick start works.")
