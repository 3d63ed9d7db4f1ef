"""A search of your own in thirty lines: as much capacity as fits into a latency, by gradient descent.

The capacity here is a stand-in for whatever your supernet tells you about accuracy: run `python relaxed_search.py 4.5`.
"""

import sys

import torch

from latency_db.relaxed import RelaxedLatency
from latency_db.table import LatencyTable

goal_ms = float(sys.argv[1]) if len(sys.argv) > 1 else 4.5
table = LatencyTable.load(device="1080ti", image="1024x2048")
relaxed = RelaxedLatency(table)

alpha = torch.zeros(relaxed.alpha_shape, requires_grad=True)  # (layers, scales, operators)
beta = torch.zeros(relaxed.beta_shape, requires_grad=True)  # (layers, scales, from finer | from own)
gamma = torch.zeros(relaxed.gamma_shape, requires_grad=True)  # (layers, scales, expansion ratios)
depth = torch.tensor([2.0 if op.endswith("x2") else float(op != "skip") for op in relaxed.ops])
width = torch.tensor(relaxed.chis, dtype=torch.float32)

optimizer = torch.optim.Adam([alpha, beta, gamma], lr=0.05)
for step in range(300):
    a, _, g = relaxed.softmax(alpha, beta, gamma)
    capacity = ((a @ depth) * (g @ width)).mean()
    latency_ms = relaxed(alpha, beta, gamma).mean()
    loss = 5 * (latency_ms / goal_ms - 1).relu() - 0.1 * capacity
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        derived_ms = relaxed(*relaxed.one_hot(alpha, beta, gamma), probabilities=True).mean()
        print(f"step {step + 1}: relaxed {latency_ms:.2f} ms, derived {derived_ms:.2f} ms, capacity {capacity:.2f}")
