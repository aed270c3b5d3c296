"""Cost of one training step of ``CoupledAE.train()``, relative to a bare torch loop.

    python tests/benchmarks/step_overhead.py [--repeats 5] [--epochs 50] [--threads 1]

Both train the same network with the same optimiser and schedule on the same data in memory (1,200 cells,
1,286 + 24 features, minibatches of 200), alternately in one process. ``train()`` validates and logs after
each epoch of six steps, and keeps the best weights; the bare loop only computes the validation loss after
each epoch, which ``--no-validation`` omits.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings

import numpy as np
import pandas as pd
import torch
from results import record

import scvi_cae
from scvi_cae.data import AlignedData, ResidentData, Split
from scvi_cae.train import CoupledDataSplitter


def main() -> None:
    """Run the benchmark and print one line a repeat and the median."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-validation", action="store_true")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)

    mdata = scvi_cae.datasets.simulate_patchseq(
        1200, n_genes=1286, n_ephys=24, fraction_rna_only=0, fraction_ephys_only=0, missing_rate=0
    )
    scvi_cae.CoupledAE.setup_mudata(mdata)
    cells = np.arange(mdata.n_obs)
    split = Split(cells[:1080], cells[1080:], cells[:0])

    def package() -> float:
        model = scvi_cae.CoupledAE(mdata)
        start = time.perf_counter()
        model.train(args.epochs, external_indexing=[split.train, split.validation], enable_progress_bar=False)
        return (time.perf_counter() - start) / (args.epochs * 6)

    def bare() -> float:
        model = scvi_cae.CoupledAE(mdata)
        module = model.module.train()
        start = time.perf_counter()
        aligned = AlignedData(mdata, model.setup)
        arms = {name: aligned[name] for name in module.arm_names}
        for name, x in arms.items():
            module.arm(name).fit(lambda x=x: [x.values(split.train)])
        data = ResidentData(arms, {name: module.arm(name).observe for name in arms})
        minibatches = CoupledDataSplitter(data, split, np.zeros(mdata.n_obs, int), 200).train_minibatches()
        validation = data.minibatch(torch.from_numpy(split.validation))
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=0.05, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 1e-2, total_steps=args.epochs * len(minibatches)
        )
        for _ in range(args.epochs):
            for minibatch in minibatches:
                optimizer.zero_grad()
                module(minibatch)[2].loss.backward()
                optimizer.step()
                schedule.step()
            if not args.no_validation:
                module.eval()
                with torch.no_grad():
                    module(validation)[2].loss.item()
                module.train()
        return (time.perf_counter() - start) / (args.epochs * 6)

    package(), bare()
    ratios, milliseconds = [], []
    for _ in range(args.repeats):
        a, b = package(), bare()
        ratios.append(a / b)
        milliseconds.append(1e3 * a)
        print(
            f"train() {1e3 * a:6.2f} ms/step   bare loop {1e3 * b:6.2f} ms/step   ratio {a / b:.2f}",
            flush=True,
        )
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    row = {"milliseconds": statistics.median(milliseconds), "ratio": median}
    row |= {"least": min(ratios), "greatest": max(ratios)}
    record("speed of a step", pd.DataFrame({"a step of training": row}).T)


if __name__ == "__main__":
    main()
