#!/bin/sh
# Runs the packed GPU tests and benches; results go to the folder `OUT`, else `results` beside this file.
# Ends with 1 if a test or a bench fails, or if no test ran on a GPU.
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/results}
mkdir -p "$out"

# CUDA's libraries: a toolkit's, or those that came with Python packages.
wheels=$(python3 -c 'import glob, site; print(":".join(p for s in site.getsitepackages() for p in glob.glob(s + "/nvidia/*/lib")))' 2>/dev/null)
toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")")
export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$toolkit/lib64:$toolkit/lib:$wheels"

missing=$(ldd "$here/kernel-tests" | grep 'not found')
if [ -n "$missing" ]; then
  echo "skipped: libraries are missing:"
  echo "$missing"
  exit 2
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"

"$here/kernel-tests" 2>&1 | tee "$out/tests.txt"
grep -q '^test result: ok' "$out/tests.txt" || failed=1
grep 'skipped: cuda' "$out/tests.txt" && failed=1

# Three interleaved rounds of ours and PyTorch's. Into files, not pipes, whose status would be that of `tee`.
: > "$out/kernels.jsonl"
: > "$out/torch.jsonl"
for round in 1 2 3; do
  "$here/kernel-bench" 0 >> "$out/kernels.jsonl" || failed=1
  python3 "$here/torch_peers.py" >> "$out/torch.jsonl" || failed=1
done
"$here/engine-bench" 0 "${LENGTHS:-2048,8192,32768,131072}" "${ROUNDS:-3}" > "$out/engine.jsonl" || failed=1
cat "$out/kernels.jsonl" "$out/torch.jsonl" "$out/engine.jsonl"
exit "${failed:-0}"
