#!/usr/bin/env bash
# A CUDA 13.0 compiler for building Inferno's kernels on a machine without GPU, driver or CUDA toolkit: nvcc and its headers
# from NVIDIA's own Python wheels. Installs once (about 500 MB) and prints the environment to build with:
#
#   eval "$(tools/cuda-toolkit.sh)"
#   cargo build --release --features cuda
#
# INFERNO_CUDA_ROOT chooses where it is installed. Nothing is linked: the program opens the driver when it first needs it.
# A machine with a CUDA toolkit of version 13 needs none of this.
set -euo pipefail
root=${INFERNO_CUDA_ROOT:-$HOME/.cache/inferno-nvcc-13.0}
if [ ! -e "$root/.complete" ]; then
  mkdir -p "$(dirname "$root")"
  # Beside its place and then moved there: two builds at once do not see each other's half.
  fresh=$(mktemp -d "$root.XXXXXX")
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$fresh" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 >&2
  ln -sfn lib "$fresh/nvidia/cu13/lib64"
  touch "$fresh/.complete"
  mv -T "$fresh" "$root" 2>/dev/null || rm -rf "$fresh"
fi
cat <<EOT
export CUDA_HOME='$root/nvidia/cu13' NVCC='$root/nvidia/cu13/bin/nvcc'
EOT
