"""What PyTorch needs for the same work on the same GPU: topk, index_select and attention, on 8B shapes in bf16.

One line of JSON an operation and length, the median of ten runs in microseconds; to be read beside the lines of
the kernels' own bench of the same run.
"""

import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("skipped: PyTorch is not installed", file=sys.stderr)
    sys.exit(0)
if not torch.cuda.is_available():
    print("skipped: PyTorch sees no GPU", file=sys.stderr)
    sys.exit(0)

HEADS, KV_HEADS, DIM, KEPT = 32, 8, 128, 1024


def median(run):
    times = []
    for i in range(12):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if i >= 2:
            times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times)


def line(op, tokens, micros):
    print(json.dumps({"op": op, "tokens": tokens, "microseconds": round(micros, 1), "torch": torch.__version__}))


for tokens in (8192, 32768, 131072):
    at = {"device": "cuda", "dtype": torch.bfloat16}
    k, v = (torch.rand(1, KV_HEADS, tokens, DIM, **at) - 0.5 for _ in range(2))
    copy = torch.empty_like(k)
    line("copy", tokens, median(lambda: copy.copy_(k)))
    scores = torch.rand(1, 1, tokens, device="cuda")
    pooled = F.avg_pool1d(scores, 5, 1, 2)
    line("topk alone", tokens, median(lambda: pooled.topk(KEPT)))
    line("avg_pool1d, topk, sort", tokens, median(lambda: F.avg_pool1d(scores, 5, 1, 2).topk(KEPT).indices.sort()))
    chosen = pooled.topk(KEPT).indices.flatten().sort().values
    line("index_select of k and v", tokens, median(lambda: (k.index_select(2, chosen), v.index_select(2, chosen))))
    for rows in (1, 2048):
        q = torch.rand(1, HEADS, rows, DIM, **at) - 0.5
        # The last rows of a causal prompt see nearly everything: an upper bound of the work, without a mask.
        sdpa = lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        line(f"scaled_dot_product_attention, {rows} rows", tokens, median(sdpa))
