#!/bin/sh
# Stands in for nvcc where host code is only to be checked: it answers what build scripts ask and leaves
# empty results, so nothing that it "compiled" can run.
out='' folder='' sources=''
while [ $# -gt 0 ]; do
  case "$1" in
    --version) echo 'Cuda compilation tools, release 13.0, V13.0.0'; exit 0 ;;
    -o) out="$2"; shift ;;
    --output-directory|-odir) folder="$2"; shift ;;
    *.cu) sources="$sources $1" ;;
  esac
  shift
done
[ -n "$out" ] && : > "$out"
if [ -n "$folder" ]; then
  for source in $sources; do : > "$folder/$(basename "$source" .cu).ptx"; done
fi
exit 0
