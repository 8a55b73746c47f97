#!/bin/sh
# Runs the packed GPU tests and benches; results go to the folder `OUT`, else ./results. Ends with 1 if a test fails.
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

# Three interleaved rounds of ours and PyTorch's.
for round in 1 2 3; do
  "$here/kernel-bench" 0 | tee -a "$out/kernels.jsonl"
  python3 "$here/torch_peers.py" | tee -a "$out/torch.jsonl"
done
"$here/engine-bench" 0 "${LENGTHS:-2048,8192,32768,131072}" "${ROUNDS:-3}" | tee "$out/engine.jsonl"
exit "${failed:-0}"
