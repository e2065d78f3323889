#!/bin/sh
# Stops before pip fetches gigabytes of CUDA libraries for a machine that has no GPU. $1: the pip to ask.
command -v nvidia-smi >/dev/null 2>&1 && exit 0
plan=$("$1" install --dry-run --quiet --disable-pip-version-check -c constraints.txt --report - torch 2>/dev/null) || exit 0
case "$plan" in
*'"nvidia-'*)
	echo "pip would install the CUDA build of torch, several gigabytes, and this machine has no NVIDIA GPU." >&2
	echo "Point pip at PyTorch's CPU wheels (PIP_EXTRA_INDEX_URL, see pytorch.org/get-started) and run make again." >&2
	exit 1
	;;
esac
