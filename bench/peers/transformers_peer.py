"""One measurement of Hugging Face transformers on PyTorch in a process of its own.

argv: a JSON job { model, prompt, maxNewTokens, threads }, `prompt` being a file with { tokens } as JSON. A job may also name
`dtype`, `attention` and `chunk` (rows of the prompt at a time), to see that what is chosen here is the fastest.

The file is not called transformers.py: Python would import it in place of the library.
"""

import json
import os
import re
import resource
import sys
import time

os.environ.update(CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")

import torch
import transformers
from transformers import AutoModelForCausalLM, StaticCache


def peak_bytes():
    """The most memory this process held since it started or since `forget_peak`."""
    try:
        with open("/proc/self/status") as status:
            return int(re.search(r"^VmHWM:\s+(\d+) kB$", status.read(), re.M)[1]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def fastest_dtype():
    """bfloat16 where the processor multiplies it, which reads prompts 1.5 times as fast; elsewhere it is emulated."""
    cpu = torch.cpu.get_capabilities()
    return "bfloat16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "float32"


def generate(tokens, limit, chunk):
    """Greedy: the new tokens, and the seconds until the first of them and from there to the last."""
    # A cache of fixed length reads as fast as one that grows and decodes faster, three times at 8000 tokens in bfloat16:
    # nothing is copied at every token, and attention of one row takes another path.
    cache = StaticCache(config=model.config, max_cache_len=len(tokens) + limit)
    start = time.perf_counter()
    for rows in torch.tensor([tokens]).split(chunk, dim=1):
        logits = model(rows, cache=cache, use_cache=True, logits_to_keep=1).logits
    new = [int(logits[0, -1].argmax())]
    first = time.perf_counter()
    while len(new) < limit:
        rows = torch.tensor([new[-1:]])
        new.append(int(model(rows, cache=cache, use_cache=True).logits[0, -1].argmax()))
    return new, first - start, time.perf_counter() - first


job = json.loads(sys.argv[1])
with open(job["prompt"]) as file:
    tokens = json.load(file)["tokens"]
torch.set_num_threads(job["threads"])
torch.set_num_interop_threads(1)
dtype = job.get("dtype") or fastest_dtype()
attention = job.get("attention", "sdpa")
folder, name = os.path.split(job["model"])
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=getattr(torch, dtype), attn_implementation=attention
).eval()

# Weights pass through float32 as they are read, which takes more than what follows. It counts, as it does for the others.
loading = peak_bytes()
forget_peak()
with torch.inference_mode():
    generate(tokens[:4], 2, 4)
    new, first, rest = generate(tokens, job["maxNewTokens"], job.get("chunk", len(tokens)))
after = peak_bytes()
about = dict(transformers=transformers.__version__, torch=torch.__version__, dtype=dtype, attention=attention)
print(
    json.dumps(
        dict(
            ttftMs=first * 1000,
            decodePerSecond=(len(new) - 1) / rest,
            newTokens=len(new),
            peakBytes=max(loading, after),
            afterLoadingBytes=after,
            release=about,
            firstTokens=new[:4],
        )
    )
)
